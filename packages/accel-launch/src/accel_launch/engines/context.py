"""The facts from which an engine makes its plan."""

from __future__ import annotations

from accel_config.catalogue import Launcher
from accel_config.record import Record
from accel_launch.planning.types import Bound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings
    from accel_launch.machine.host import Host
    from accel_launch.planning.findings import Findings
    from accel_launch.planning.layout import Layout


class LaunchContext(Record):
    """Everything an engine makes its plan from."""

    settings: Settings
    host: Host
    """The facts of this machine; ``host.probe`` answers further questions, such as where a program is."""
    layout: Layout
    """The ranks: how many there are in total and on this machine, and their devices."""
    script: tuple[str, ...]
    """The script, module or program, and its arguments."""
    variables: dict[str, str]
    """The variables that every rank gets."""
    findings: Findings
    """Notes for the user, and refusals."""
    bound: tuple[Bound, ...] = ()
    """The CPUs of each local rank, where ranks are bound."""

    def binding(self, local_rank: int) -> Bound:
        """Return what a local rank is bound to."""
        return self.bound[local_rank] if self.bound else Bound()

    @property
    def selects(self) -> bool:
        """Whether something is for some ranks alone."""
        launcher = self.settings[Launcher]
        return bool(launcher.wrap or launcher.rank_env)

    def ignore(self, reason: str, *names: str) -> None:
        """Declare that settings have no effect in this run, though the engine honors them in others."""
        self.findings.ignored.update(dict.fromkeys(names, reason))
