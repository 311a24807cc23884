"""Tries the links, and tells what was found: a table, notes about what is odd, or why the run can't work."""

from __future__ import annotations

from accel_config.catalogue import Hardware, Launcher
from accel_config.errors import AccelError
from accel_config.front import say, tell
from accel_launch.hosts.network import checking, figures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings
    from accel_launch.hosts.gathering import Crew


def tried(crew: Crew, settings: Settings, towards: str) -> tuple[dict[str, object], ...]:
    """Try the link of each pair of machines that meet at ``towards``; return what was measured.

    Raises:
        AccelError: two machines can't connect.
    """
    network = checking.check(crew, towards, cpu=settings[Hardware].cpu)
    if not settings[Launcher].quiet:
        tell("accel", ("the links of each machine, in the median over the other machines:",))
        say(figures.table(network))
        tell("accel: note", figures.odd(network))
    wrong = figures.unconnected(network)
    if wrong:
        crew.leave()
        raise AccelError(*wrong)
    return tuple(network.as_json())
