"""From settings to running processes.

    from accel_launch import Host, plan, run

    todo = plan(settings, Host.here(), ["train.py"])      # settings: from accel_config.resolve
    result = run(todo)
    result.status
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .host import Host
    from .plan import Command, Plan, Request, plan
    from .report import Result
    from .run import run

__all__ = ["Command", "Host", "Plan", "Request", "Result", "plan", "run"]

_WHERE = {
    "Command": "plan",
    "Host": "host",
    "Plan": "plan",
    "Request": "plan",
    "Result": "report",
    "plan": "plan",
    "run": "run",
}


def __getattr__(name: str) -> object:
    """Import a public name on its first use: a launch of one process needs few of them."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
