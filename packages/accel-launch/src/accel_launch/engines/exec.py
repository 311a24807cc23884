"""One process: the launcher becomes it, so that status, signals and output are the script's own.

It is all of the run, or, where a scheduler started one process for each rank, one of its ranks.
"""

from __future__ import annotations

from accel_config.catalogue import Rendezvous
from accel_config.errors import AccelError
from accel_config.paradigm import SHARDED

from .. import target
from ..plan import Command, Plan
from .local import contract, meeting_point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..schedulers.placement import Task
    from . import Order


def make(order: Order) -> Plan:
    """Plan the one process; with torchrun's variables where the script expects a process group."""
    laid = order.laid
    if laid.task is not None:
        return _rank(order, laid.task)
    order.alone("rdzv_conf", "monitor_interval")
    env = dict(order.variables)
    grouped = laid.kind in SHARDED or (laid.kind.startswith("MULTI_") and laid.kind != "MULTI_CPU")
    if grouped:
        env.update(contract(order, 0, *meeting_point(order)))
    words = target.argv(order.settings, order.host, order.script)
    command = Command(words, env, rank=0, local_rank=0, device=laid.device(0))
    return Plan("exec", (command,), supervised=False, preload=order.preloaded())


def _rank(order: Order, task: Task) -> Plan:
    """Plan the one rank of many that this process becomes."""
    from . import fleet, interface

    rendezvous = order.settings[Rendezvous]
    address, port = rendezvous.main_process_ip, rendezvous.main_process_port
    if not address:
        import socket

        host = f"the host of rank 0 ({socket.gethostname()})" if task.rank == 0 else "the host of rank 0"
        raise AccelError(
            f"{task.total} ranks were started on several machines ({order.settings.origin('num_processes')}), but "
            f"nobody says where they meet: give --main_process_ip, {host}, or MASTER_ADDR to all ranks"
        )
    if not port:
        raise AccelError(
            f"main_process_port is 0 ({order.settings.origin('main_process_port')}), a free port, which each of "
            f"{task.total} ranks would choose for itself: name one"
        )
    if task.rank == 0 and order.host.ask.busy(port):
        origin = order.settings.origin("main_process_port")
        order.findings.here(f"main_process_port {port} ({origin}) is in use on this machine: give all ranks another")
    order.unused("the scheduler started the ranks", *fleet.AGENT)
    # With one device of its own each rank calls that 0, as torchrun's --virtual-local-rank has it.
    device = 0 if len(order.laid.devices) == 1 else task.local_rank
    env = {
        **order.variables,
        **contract(order, task.rank, address, port),
        "WORLD_SIZE": str(task.total),
        "ROLE_WORLD_SIZE": str(task.total),
        "LOCAL_RANK": str(device),
    }
    for name, number in (("GROUP_RANK", task.machine), ("GROUP_WORLD_SIZE", task.machines)):
        env.pop(name)
        env.update({} if number is None else {name: str(number)})
    if task.machines != 1:
        env.update(interface.named(order, interface.towards(order, address)))
    if task.met:
        env["ACCEL_MET"] = "1"  # for `accel_launch.rank`, which keeps it
    words = target.argv(order.settings, order.host, order.script, unbuffered=True)
    words = fleet.followed(order, words) if task.followed else words
    command = Command(words, env, rank=task.rank, local_rank=task.local_rank, device=order.laid.device(device))
    return Plan("exec", (command,), supervised=False)
