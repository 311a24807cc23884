"""The facts of a machine that the wizard proposes answers from."""

from __future__ import annotations

from accel_config.record import Record
from accel_config.settings.paradigm import paradigm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.values import Values


class MachineFacts(Record):
    """The accelerators and cores of a machine."""

    kind: str = ""
    """``GPU``, ``NPU``, ...; empty where there is no accelerator."""
    count: int = 0
    """How many accelerators there are."""
    cores: int = 1
    bf16: bool = False
    """Whether every accelerator is known to compute in bfloat16."""
    known: bool = True
    """Whether the machine was looked at; otherwise the other fields say nothing."""

    @property
    def distributed_type(self) -> str:
        """The ``distributed_type`` that suits it."""
        if self.kind == "TPU":
            return "XLA"
        return f"MULTI_{self.kind}" if self.count > 1 else "NO"

    def processes(self, settings: Values) -> int:
        """Return the number of processes to propose, over ``num_machines`` machines like this one."""
        each = self.cores if paradigm(settings).kind == "MULTI_CPU" else max(1, self.count)
        machines = settings.value("num_machines").value
        return each * machines if isinstance(machines, int) else each
