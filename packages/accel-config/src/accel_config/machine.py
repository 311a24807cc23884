"""What the wizard proposes answers from: the devices and cores of this machine, where somebody can tell them."""

from __future__ import annotations

from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .settings import Settings

GROUP = "accel_config.machine"
"""The entry points that tell a machine's facts: a function without arguments, whose result has ``devices`` (each with
a ``kind``) and ``cores``. accel-launch has one; alone, this package knows no device."""


class Machine(Record):
    """The facts that answers are proposed from."""

    kind: str = ""
    """``GPU``, ``NPU``, ...; empty where there is no accelerator."""
    count: int = 0
    """How many of them."""
    cores: int = 1

    @classmethod
    def here(cls) -> Machine:
        """Ask whoever is installed to tell this machine's facts."""
        from importlib.metadata import entry_points

        for point in entry_points(group=GROUP):
            host = point.load()()
            kinds = [device.kind for device in host.devices]
            return cls(kinds[0] if kinds else "", len(kinds), host.cores)
        return cls()

    @property
    def distributed_type(self) -> str:
        """The kind of distribution that suits it."""
        return f"MULTI_{self.kind}" if self.count > 1 else "NO"

    def processes(self, settings: Settings) -> int:
        """Return the number of processes to propose, over as many machines like this one as the answers say."""
        each = self.cores if settings.paradigm.kind == "MULTI_CPU" else max(1, self.count)
        machines = settings.value("num_machines").value
        return each * machines if isinstance(machines, int) else each
