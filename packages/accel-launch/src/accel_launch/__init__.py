"""From settings to running processes.

from accel_launch import launch

result = launch("train.py", cpu=True, num_processes=2)   # or a function: launch(train, args=(1e-3,), num_processes=2)
result.status, result.failure

In steps, to look at the plan or to change it: settings from accel_config.resolve, then `plan`, then `run`.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.calling.errors import LaunchError, LaunchTimeout
    from accel_launch.calling.launching import launch
    from accel_launch.calling.reporting import report
    from accel_launch.calling.stacks import stacks
    from accel_launch.inspecting.groups import Group
    from accel_launch.machine.host import Host
    from accel_launch.planning.making import plan
    from accel_launch.planning.types import Command, Plan, Request
    from accel_launch.running.onlookers.stall.telling import Stall
    from accel_launch.running.report.records import AttemptReport, Ending, Event, Failure, Line, Raised, Result
    from accel_launch.running.session import run

    __version__: str

__all__ = [
    "AttemptReport",
    "Command",
    "Ending",
    "Event",
    "Failure",
    "Group",
    "Host",
    "LaunchError",
    "LaunchTimeout",
    "Line",
    "Plan",
    "Raised",
    "Request",
    "Result",
    "Stall",
    "launch",
    "plan",
    "report",
    "run",
    "stacks",
]

# Each public name with its module, which is imported when the name is used: a launch needs few of them.
_MODULES = {
    "launch": "accel_launch.calling.launching",
    "report": "accel_launch.calling.reporting",
    "stacks": "accel_launch.calling.stacks",
    **dict.fromkeys(("LaunchError", "LaunchTimeout"), "accel_launch.calling.errors"),
    "Group": "accel_launch.inspecting.groups",
    "Stall": "accel_launch.running.onlookers.stall.telling",
    "Host": "accel_launch.machine.host",
    "plan": "accel_launch.planning.making",
    **dict.fromkeys(("Command", "Plan", "Request"), "accel_launch.planning.types"),
    **dict.fromkeys(
        ("AttemptReport", "Ending", "Event", "Failure", "Line", "Raised", "Result"),
        "accel_launch.running.report.records",
    ),
    "run": "accel_launch.running.session",
}


def __getattr__(name: str) -> object:
    """Import a public name on its first use."""
    if name in _MODULES:
        # `importlib` would cost a start more than the names of this package.
        return getattr(__import__(_MODULES[name], fromlist=(name,)), name)
    if name == "__version__":
        from accel_config.showing.installing import version

        return version("accel-launch")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of the module, those that are imported on their first use too."""
    return sorted({*globals(), *__all__})
