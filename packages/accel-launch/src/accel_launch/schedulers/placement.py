"""What a scheduler says of this process: settings, each with the variable that tells it, and the rank it may be."""

from __future__ import annotations

from accel_config import CATALOGUE
from accel_config.origin import SCHEDULER, Origin, Value
from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Told = tuple[object, str]
    """A value, and the variable that tells it."""

# Ports that no kernel hands out by itself. Every second one: the launchers themselves may take the one above.
PORTS = range(15000, 32000, 2)


class Task(Record):
    """One rank, as a scheduler has started it: this process is to become it."""

    rank: int
    total: int
    local_rank: int
    local: int
    """Ranks on this machine."""
    machine: int | None = None
    machines: int | None = None
    """None where nobody says."""
    followed: bool = False
    """Whether a parent has to tell the scheduler when the rank fails; see `accel_launch.rank`."""
    met: bool = False
    """Whether the ranks have told each other something, so that the parent has to take leave as well."""


class Placement(Record):
    """What a scheduler says of this process."""

    title: str = ""
    values: Mapping[str, Value] = {}
    """Settings by name."""
    notes: tuple[str, ...] = ()
    task: Task | None = None

    def taking(self, name: str, value: object, variable: str) -> Placement:
        """Add a setting that ``variable`` tells; nothing where it tells none.

        Raises:
            SettingError: it tells what the setting can't be.
        """
        if value is None:
            return self
        origin = Origin(variable, SCHEDULER)
        return self.replace(values={**self.values, name: Value(CATALOGUE.by_name[name].parse(value, origin), origin)})

    def becoming(self, task: Task, total: str, local: str) -> Placement:
        """Add that this process is one rank, told by the variables ``total`` and ``local``."""
        counted = self.taking("num_processes", task.total, total).taking("nproc_per_node", task.local, local)
        return counted.taking("engine", "exec", local).replace(task=task)

    def noting(self, *notes: str) -> Placement:
        """Add notes."""
        return self.replace(notes=(*self.notes, *notes))


def unplaced(title: str, *notes: str) -> Placement:
    """Return that nothing is taken, and why."""
    return Placement(title, notes=notes)


def number(environ: Mapping[str, str], name: str) -> int | None:
    """Return the whole number that a variable holds; None where it isn't there, or is none."""
    text = environ.get(name, "").strip()
    return int(text) if text.isdecimal() else None


def port(seed: int) -> int:
    """Return the port that a run has by its number: the same wherever it is asked, another for the next number."""
    return PORTS[seed % len(PORTS)]
