"""The network interface for gloo and NCCL: the one towards the main machine, unless the user has named one."""

from __future__ import annotations

from accel_config.catalogue import Launcher
from accel_launch.ranks import route
from accel_launch.ranks.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.engines.context import LaunchContext


def route_to(context: LaunchContext, address: str) -> route.Route | None:
    """Return the route to the main machine, or None if it isn't known. A dry run looks no name up."""
    return context.host.probe.network.route(address, look_up=not context.settings[Launcher].dry_run)


def interface_variables(context: LaunchContext, way: route.Route | None, *, again: bool = False) -> dict[str, str]:
    """Return the variables that name the interface of a route, with a note if the route is unknown or guessed.

    Args:
        context: The facts of the launch.
        way: The route, from `route_to`.
        again: Whether each rank has a parent that looks for the route again when it starts.
    """
    environ, cpu = context.host.environ, context.layout.cpu
    if any(environ.get(name) for name in route.VARIABLES):
        return {}
    if way is None and again and calls.ROUTES:
        context.findings.notes.append(
            "the interface towards main_process_ip isn't known yet: each rank looks for it when it starts"
        )
    elif way is None:
        wanted = " and ".join(name for name in route.VARIABLES if not (cpu and name.startswith("NCCL")))
        context.findings.notes.append(
            f"the interface towards main_process_ip isn't known here: set {wanted} if the ranks don't find each other"
        )
    elif way.guessed:
        context.findings.notes.append(
            f"main_process_ip resolves to this machine's loopback: gloo uses {way.interface}, the default route; "
            "set GLOO_SOCKET_IFNAME if the other machines are on another interface"
        )
    return route.named(way, environ, cpu=cpu)
