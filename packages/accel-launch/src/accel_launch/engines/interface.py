"""Which network interface gloo and NCCL are told: the one towards the main machine, unless the user named one."""

from __future__ import annotations

from accel_config.catalogue import Launcher

from .. import route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import Order


def towards(order: Order, address: str) -> route.Route | None:
    """Return the way to the main machine; None where it isn't known. A plan that is only printed looks no name up."""
    return order.host.ask.route(address, look_up=not order.settings[Launcher].dry_run)


def named(order: Order, way: route.Route | None, *, later: bool = False) -> dict[str, str]:
    """Return the variables that name the interface of ``way``; a note where it isn't known, or guessed.

    ``later``: the ranks have a parent that looks for it again when all machines are there.
    """
    environ, cpu = order.host.environ, order.laid.cpu
    if any(environ.get(name) for name in route.VARIABLES):
        return {}
    if way is None and later:
        order.findings.notes.append(
            "the interface towards main_process_ip isn't known yet: each rank looks for it when it starts"
        )
    elif way is None:
        wanted = " and ".join(name for name in route.VARIABLES if not (cpu and name.startswith("NCCL")))
        order.findings.notes.append(
            f"the interface towards main_process_ip isn't known here: set {wanted} where the ranks don't find each "
            "other"
        )
    elif way.guessed:
        order.findings.notes.append(
            f"main_process_ip stands for this machine's loopback: gloo is told {way.interface}, the way out of here; "
            "set GLOO_SOCKET_IFNAME where the others come another way"
        )
    return route.named(way, environ, cpu=cpu)
