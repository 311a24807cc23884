"""The sizes over which ranks are divided, such as tensor parallelism: they must multiply to the number of ranks."""

from __future__ import annotations

from accel_config.catalogue.parallel import in_force
from accel_config.checking.parallelism import SHARD, shard_size, world

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings
    from accel_launch.planning.findings import Findings
    from accel_launch.planning.layout import Layout


def check(settings: Settings, layout: Layout, findings: Findings) -> None:
    """Check the sizes against the ranks that this machine's devices give, where num_processes isn't set.

    Raises:
        AccelError: they don't fit.
    """
    if not settings.given("num_processes") and (wrong := world(settings, layout.total)):
        findings.refuse_locally(wrong)
    elif in_force(settings) and (shard := shard_size(settings, layout.total)) != settings.value(SHARD).value:
        findings.notes.append(f"{SHARD} isn't set: {shard}, the ranks that the other sizes leave over")
