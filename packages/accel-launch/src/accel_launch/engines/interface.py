"""Which network interface gloo and NCCL are told: the one towards the main machine, unless the user named one."""

from __future__ import annotations

from accel_config.catalogue import Launcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..route import Route
    from . import Order

# NCCL takes a name for the beginning of one unless told otherwise.
VARIABLES = {"GLOO_SOCKET_IFNAME": "{}", "NCCL_SOCKET_IFNAME": "={}"}


def towards(order: Order, address: str) -> Route | None:
    """Return the way to the main machine; a plan that is only printed looks no name up."""
    return order.host.ask.route(address, look_up=not order.settings[Launcher].dry_run)


def named(order: Order, way: Route | None) -> dict[str, str]:
    """Return the variables that have gloo and NCCL use the interface of ``way``, if none is named.

    Of a way that is guessed only gloo is told: it would take the loopback, whereas NCCL chooses well by itself.
    """
    if any(order.host.environ.get(name) for name in VARIABLES):
        return {}
    wanted = [name for name in VARIABLES if not (order.laid.cpu and name.startswith("NCCL"))]
    if way is None:
        order.findings.notes.append(
            f"the interface towards main_process_ip isn't known here: set {' and '.join(wanted)} where the ranks "
            "don't find each other"
        )
        return {}
    if way.guessed:
        order.findings.notes.append(
            f"main_process_ip stands for this machine's loopback: gloo is told {way.interface}, the way out of here; "
            "set GLOO_SOCKET_IFNAME where the others come another way"
        )
        wanted = wanted[:1]
    return {name: VARIABLES[name].format(way.interface) for name in wanted}
