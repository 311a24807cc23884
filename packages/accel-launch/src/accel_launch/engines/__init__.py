"""Engines: what starts the ranks. Each is a module with a planning function and a declaration, `Engine`.

This is what a package needs to add one, as an entry point of the group ``accel_launch.engines``; ``docs/engines.md``
builds an example.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.engines.common.hostfile import ListedHost, extra_hosts, read_hostfile
    from accel_launch.engines.common.interface import interface_variables, route_to
    from accel_launch.engines.common.meeting import meeting_point, torch_variables
    from accel_launch.engines.common.wrapping import assignments, rank_command, with_parent, with_torch_variables
    from accel_launch.engines.context import LaunchContext
    from accel_launch.engines.declaration import ADDRESS, AGENT, MEETING, RANKS, Engine
    from accel_launch.planning.types import Command, Plan, Request

# Each public name with its module, which is imported when the name is used: a launch needs few of them.
_MODULES = {
    **dict.fromkeys(("Engine", "RANKS", "ADDRESS", "MEETING", "AGENT"), "accel_launch.engines.declaration"),
    "LaunchContext": "accel_launch.engines.context",
    **dict.fromkeys(("Command", "Plan", "Request"), "accel_launch.planning.types"),
    **dict.fromkeys(("meeting_point", "torch_variables"), "accel_launch.engines.common.meeting"),
    **dict.fromkeys(
        ("rank_command", "with_parent", "with_torch_variables", "assignments"), "accel_launch.engines.common.wrapping"
    ),
    **dict.fromkeys(("ListedHost", "read_hostfile", "extra_hosts"), "accel_launch.engines.common.hostfile"),
    **dict.fromkeys(("route_to", "interface_variables"), "accel_launch.engines.common.interface"),
}

__all__ = [
    "ADDRESS",
    "AGENT",
    "MEETING",
    "RANKS",
    "Command",
    "Engine",
    "LaunchContext",
    "ListedHost",
    "Plan",
    "Request",
    "assignments",
    "extra_hosts",
    "interface_variables",
    "meeting_point",
    "rank_command",
    "read_hostfile",
    "route_to",
    "torch_variables",
    "with_parent",
    "with_torch_variables",
]


def __getattr__(name: str) -> object:
    """Import a public name on its first use."""
    if name in _MODULES:
        return getattr(__import__(_MODULES[name], fromlist=(name,)), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of the module, those that are imported on their first use too."""
    return sorted({*globals(), *__all__})
