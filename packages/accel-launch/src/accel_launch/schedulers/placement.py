"""The place of this process according to a scheduler: settings with their variables, and the rank it becomes."""

from __future__ import annotations

from accel_config import CATALOGUE
from accel_config.record import Record
from accel_config.settings.origin import SCHEDULER, Origin, Value
from accel_config.settings.readers import natural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Ports below those that the kernel assigns itself. Every second one: the launchers may use the one above.
PORTS = range(15000, 32000, 2)


class Sourced(Record):
    """A value and the variable that it comes from."""

    value: object
    variable: str


class Task(Record):
    """One rank, as a scheduler has started it. This process becomes that rank."""

    rank: int
    total: int
    local_rank: int
    local: int
    """Ranks on this machine."""
    machine: int | None = None
    """The rank of this machine; None if the scheduler doesn't set it."""
    machines: int | None = None
    """The number of machines; None if the scheduler doesn't set it."""
    followed: bool = False
    """Whether a parent must report a failure of the rank to the scheduler; see `accel_launch.ranks.parent`."""
    rank_variable: str = ""
    """The variable of ``rank``."""
    met: bool = False
    """Whether the ranks have exchanged values by PMI, so that the parent must finalize it."""


class Placement(Record):
    """The place of this process according to one scheduler."""

    title: str = ""
    """The scheduler, as messages name it."""
    values: Mapping[str, Value] = {}
    """Settings by name."""
    notes: tuple[str, ...] = ()
    task: Task | None = None

    def with_setting(self, name: str, value: object, variable: str) -> Placement:
        """Add the setting ``name`` from ``variable``; nothing if the value is None.

        Raises:
            SettingError: the value isn't valid for the setting.
        """
        if value is None:
            return self
        origin = Origin(variable, SCHEDULER)
        return self.replace(values={**self.values, name: Value(CATALOGUE.by_name[name].parse(value, origin), origin)})

    def with_address(self, host: Sourced | None, port: Sourced | None) -> Placement:
        """Add where the ranks meet; nothing for an unknown host or port."""
        found = self
        for name, part in (("main_process_ip", host), ("main_process_port", port)):
            found = found if part is None else found.with_setting(name, part.value, part.variable)
        return found

    def with_task(self, task: Task, total: str, local: str) -> Placement:
        """Add that this process is one rank; ``total`` and ``local`` are the variables of those numbers."""
        counted = self.with_setting("num_processes", task.total, total).with_setting(
            "nproc_per_node", task.local, local
        )
        return counted.with_setting("engine", "exec", local).replace(task=task)

    def with_notes(self, *notes: str) -> Placement:
        """Add notes."""
        return self.replace(notes=(*self.notes, *notes))


def ignored(title: str, *notes: str) -> Placement:
    """Return a placement that sets nothing, with notes that explain it."""
    return Placement(title, notes=notes)


def number(environ: Mapping[str, str], name: str) -> int | None:
    """Return the whole number in a variable; None if it isn't set, isn't one, or is too long."""
    return natural(environ.get(name, ""))


def port(seed: int) -> int:
    """Return the port for a run's number: the same on every machine, another one for the next number."""
    return PORTS[seed % len(PORTS)]
