"""How the machines of a run meet: by which of torch's rendezvous, where, and which of them this is."""

from __future__ import annotations

from accel_config.catalogue import Launcher, Rendezvous, Resources
from accel_config.errors import AccelError
from accel_config.wording import said

from .. import target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import Order

# Torch's own, and what they call the time that they wait for machines.
LIMITS = {
    "static": ("timeout",),
    "c10d": ("join_timeout", "read_timeout"),
    "etcd": ("timeout",),
    "etcd-v2": ("join_timeout",),
}
# Those whose place is the main machine, and not a service of its own.
SERVED = ("static", "c10d")


def backend(order: Order) -> str:
    """Return by which rendezvous the machines meet: of an elastic run c10d, unless somebody says another."""
    elastic, name = order.settings[Resources].num_machines.elastic, order.settings[Rendezvous].rdzv_backend
    if elastic and not order.settings.given("rdzv_backend"):
        return "c10d"
    here = order.settings[Launcher].python is None  # what another interpreter has isn't known here
    if here and name.startswith("etcd") and not order.host.ask.module("etcd"):
        order.findings.here(
            f"{said(order.settings, 'rdzv_backend')} needs python-etcd, which isn't installed for "
            f"{target.interpreter(order.settings, order.host)}: pip install python-etcd"
        )
    return name


def main_address(order: Order) -> str:
    """Return the address of the main machine, or of a service by which they meet; every machine must be told."""
    address = order.settings[Rendezvous].main_process_ip
    if not address:
        raise AccelError(
            f"num_machines is {order.laid.machines} ({order.settings.origin('num_machines')}), but nobody says where "
            "they meet: give --main_process_ip, the address of the machine of rank 0"
        )
    return address


def main_port(order: Order, *, served: bool = True) -> int:
    """Return the port there: the same one on each machine, so none that this machine chooses.

    ``served``: it is the main machine's own, so nothing else may listen on it.
    """
    port = order.settings[Rendezvous].main_process_port
    if port == 0:
        raise AccelError(
            f"main_process_port is 0 ({order.settings.origin('main_process_port')}), a free port, which each of "
            f"{order.laid.machines} machines would choose for itself: name one"
        )
    if port is None:
        raise AccelError(
            f"num_machines is {order.laid.machines} ({order.settings.origin('num_machines')}), but nobody says at "
            "which port they meet: give --main_process_port, the same on every machine, such as 29500"
        )
    if served and order.laid.rank == 0 and order.host.ask.busy(port):
        origin = order.settings.origin("main_process_port")
        order.findings.here(
            f"main_process_port {port} ({origin}) is in use on this machine, which is the main one: give another, "
            "the same on every machine"
        )
    return port


def machine_rank(order: Order) -> int:
    """Return the rank of this machine, which must be said; that it is one of them is a rule of accel_config."""
    rank = order.settings[Rendezvous].machine_rank
    machines = order.laid.machines
    if rank is None:
        raise AccelError(
            f"num_machines is {machines} ({order.settings.origin('num_machines')}), but not which of them this is: "
            f"give --machine_rank, from 0 to {machines - 1}"
        )
    return rank
