"""N processes on this machine, looked after by our own supervisor; torch isn't imported to start them."""

from __future__ import annotations

from accel_config.catalogue import Rendezvous
from accel_config.errors import AccelError

from .. import target
from ..plan import Command, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import Order


def make(order: Order) -> Plan:
    """Plan one command for each rank, with the variables that torchrun gives."""
    laid = order.laid
    if laid.machines > 1:
        raise AccelError(
            f"num_machines is {laid.machines} ({order.settings.origin('num_machines')}): the engine local is for "
            "one machine; leave out --engine, or take torchrun"
        )
    order.alone("rdzv_conf", "monitor_interval")
    address, port = meeting_point(order)
    words = target.argv(order.settings, order.host, order.script, unbuffered=True)
    commands = tuple(
        Command(
            words,
            {**order.variables, **contract(order, rank, address, port)},
            rank=rank,
            local_rank=rank,
            device=laid.device(rank),
        )
        for rank in range(laid.local)
    )
    return Plan("local", commands, preload=order.preloaded())


def meeting_point(order: Order) -> tuple[str, int]:
    """Return the address and port at which the ranks of this machine meet: a free port unless a free one is named."""
    rendezvous = order.settings[Rendezvous]
    address = rendezvous.main_process_ip or "127.0.0.1"
    port = rendezvous.main_process_port or 0
    machine = order.host.ask
    if port and machine.busy(port):
        origin = order.settings.origin("main_process_port")
        order.findings.notes.append(f"main_process_port {port} ({origin}) is in use: a free port is taken instead")
        port = 0
    return address, port or machine.free_port()


def contract(order: Order, rank: int, address: str, port: int) -> dict[str, str]:
    """Return what torchrun tells each worker; `torch.distributed.init_process_group` reads it."""
    size = str(order.laid.local)
    own = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": size,
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
        "ROLE_NAME": order.settings[Rendezvous].role,
        "ROLE_RANK": str(rank),
        "ROLE_WORLD_SIZE": size,
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_RUN_ID": "none",
        # Rank 0 makes the store itself: there is no agent that would.
        "TORCHELASTIC_USE_AGENT_STORE": "False",
    }
    if not order.host.environ.get("TORCH_NCCL_ASYNC_ERROR_HANDLING"):
        own["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "1"
    return own
