"""From settings to running processes.

from accel_launch import Host, plan, run

todo = plan(settings, Host.here(), ["train.py"])      # settings: from accel_config.resolve
result = run(todo)
result.status
"""

from .host import Host
from .plan import Command, Plan, Request, plan
from .report import Event, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .session import run

__all__ = ["Command", "Event", "Host", "Plan", "Request", "Result", "plan", "run"]


def __getattr__(name: str) -> object:
    """Import `run` on its first use: what it needs, a launch from the command line doesn't."""
    if name == "run":
        from .session import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
