"""Several machines, or restarts: torch's own elastic agent, one on each machine, started on the ranks' interpreter.

The agent hides how a rank ended (its own status is always 1) and what it printed, so each rank starts under
`accel_launch.rank`, a file of the standard library alone, which tells our supervisor.
"""

from __future__ import annotations

import os

from accel_config.catalogue import Launcher, Rendezvous
from accel_config.errors import AccelError

from .. import target
from ..plan import Command, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import Order

PORT = 29500
RANK = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "rank.py")


def make(order: Order) -> Plan:
    """Plan the agent of this machine.

    Raises:
        AccelError: an address, a port or a rank is missing, or can't be.
    """
    python = target.interpreter(order.settings, order.host)
    if order.settings[Launcher].python is None and not order.host.ask.module("torch"):
        order.findings.here(
            f"torch isn't installed for {python}: its agent starts runs over several machines, and restarts; "
            "pip install torch"
        )
    words = target.argv(order.settings, order.host, order.script, unbuffered=True)
    agent = (python, "-m", "torch.distributed.run", *options(order), "--no-python", python, RANK, *words)
    command = Command(agent, dict(order.variables))
    return Plan("torchrun", (command,), hosted=order.laid.local)


def options(order: Order) -> tuple[str, ...]:
    """Return torchrun's own flags."""
    rendezvous = order.settings[Rendezvous]
    found: dict[str, object] = {
        "--nproc-per-node": order.laid.local,
        "--max-restarts": rendezvous.max_restarts,
        "--monitor-interval": rendezvous.monitor_interval,
        "--role": rendezvous.role,
        # Ranks write to the supervisor themselves, and without this the agent leaves a folder behind.
        "--log-dir": os.devnull,
        **(_several(order) if order.laid.machines > 1 else _one(order)),
    }
    return tuple(f"{flag}={value}" for flag, value in found.items() if value not in (None, ""))


def _one(order: Order) -> dict[str, object]:
    """One machine: a rendezvous of its own, on a port that nobody else is given."""
    from .local import meeting_point

    address, port = meeting_point(order)
    return {
        "--nnodes": 1,
        "--node-rank": 0,
        "--rdzv-backend": "static",
        "--master-addr": address,
        "--master-port": port,
        "--rdzv-conf": order.settings[Rendezvous].rdzv_conf,
    }


def _several(order: Order) -> dict[str, object]:
    """Several machines: the address, port and rank that the settings give, which must all be there."""
    rendezvous = order.settings[Rendezvous]
    address, port, rank = main_address(order), main_port(order), machine_rank(order)
    found: dict[str, object] = {
        "--nnodes": order.laid.machines,
        "--node-rank": rank,
        "--rdzv-backend": rendezvous.rdzv_backend,
    }
    conf = [part for part in rendezvous.rdzv_conf.split(",") if part]
    if rendezvous.rdzv_backend == "static":
        # The address itself, with no look-up of names in between, is what same_network asks for; it always serves.
        found["--master-addr"], found["--master-port"] = address, port
    else:
        endpoint = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        found["--rdzv-endpoint"], found["--rdzv-id"] = endpoint, f"accel-{port}"
        # torch guesses from host names whether it is the main machine; the rank says so.
        if not any(part.startswith("is_host=") for part in conf):
            conf.append(f"is_host={int(rank == 0)}")
        if rank == 0:
            found["--local-addr"] = address
    found["--rdzv-conf"] = ",".join(conf)
    return found


def main_address(order: Order) -> str:
    """Return the address of the main machine; every machine must be told."""
    address = order.settings[Rendezvous].main_process_ip
    if not address:
        raise AccelError(
            f"num_machines is {order.laid.machines} ({order.settings.origin('num_machines')}), but nobody says where "
            "they meet: give --main_process_ip, the address of the machine of rank 0"
        )
    return address


def main_port(order: Order) -> int:
    """Return the port on the main machine: the same one on each, so none that this machine chooses."""
    port = order.settings[Rendezvous].main_process_port
    if port == 0:
        raise AccelError(
            f"main_process_port is 0 ({order.settings.origin('main_process_port')}), a free port, which each of "
            f"{order.laid.machines} machines would choose for itself: name one"
        )
    if port is None:
        order.findings.notes.append(f"main_process_port isn't set: {PORT}")
    port = port or PORT
    if order.laid.rank == 0 and order.host.ask.busy(port):
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
