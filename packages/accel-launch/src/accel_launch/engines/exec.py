"""Engine ``exec``: one process. The launcher becomes it, so its status, signals and output are the script's own.

The process is the whole run; or, where a scheduler started one process for each rank, one of its ranks.
"""

from __future__ import annotations

from accel_config.catalogue import Rendezvous
from accel_config.errors import AccelError
from accel_config.settings.paradigm import SHARDED
from accel_config.showing.wording import describe
from accel_launch.engines.common.meeting import meeting_point, place_of, torch_variables
from accel_launch.engines.declaration import ADDRESS, AGENT, MEETING, RANKS, Engine
from accel_launch.planning import target
from accel_launch.planning.types import Command, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.engines.context import LaunchContext
    from accel_launch.schedulers.placement import Task


def make(context: LaunchContext) -> Plan:
    """Plan the one process, with torchrun's variables if the script expects a process group.

    Raises:
        AccelError: several processes are asked for; or it is one rank of many, and they have no address or port at
            which to meet.
    """
    layout = context.layout
    if layout.task is not None:
        return _rank(context, layout.task)
    if layout.total > 1:
        raise AccelError(
            f"{describe(context.settings, 'engine')} starts one process, but there are {layout.total}: leave it out, "
            "or use --engine local"
        )
    bound = context.binding(0)
    env = {**context.variables, **bound.variables, **layout.own(0)}
    if layout.kind in SHARDED or (layout.kind.startswith("MULTI_") and layout.kind != "MULTI_CPU"):
        env.update(torch_variables(context, 0, *meeting_point(context)))
    words = target.argv(context.settings, context.host, context.script)
    command = Command(words, env, rank=0, local_rank=0, device=layout.device(0), cpus=bound.cpus)
    command = _own(context, command)
    return Plan("exec", (command,), supervised=command.tooled, preload=())


def _own(context: LaunchContext, command: Command) -> Command:
    if not context.selects:
        return command
    from accel_launch.engines.common.selected import with_own

    return with_own(context, command)


def _rank(context: LaunchContext, task: Task) -> Plan:
    """Plan the one rank of many that this process becomes."""
    from accel_launch.engines.common.interface import interface_variables, route_to
    from accel_launch.engines.common.wrapping import rank_command, with_parent

    context.ignore("the scheduler started the ranks", *AGENT)
    address, port = _meeting_point(context, task)
    layout = context.layout
    device = 0 if len(layout.devices) == 1 else task.local_rank
    bound = context.binding(task.local_rank)
    env = {
        **context.variables,
        **bound.variables,
        **torch_variables(context, task.rank, address, port),
        "WORLD_SIZE": str(task.total),
        "ROLE_WORLD_SIZE": str(task.total),
        **layout.own(device),
        "LOCAL_RANK": place_of(context, device),
    }
    for name, number in (("GROUP_RANK", task.machine), ("GROUP_WORLD_SIZE", task.machines)):
        env.pop(name)
        env.update({} if number is None else {name: str(number)})
    if task.machines != 1:
        env.update(interface_variables(context, route_to(context, address)))
    if task.met:
        env["ACCEL_MET"] = "1"  # for `accel_launch.ranks.parent`, which removes it
    words = rank_command(context)
    words = with_parent(context, words) if task.followed else words
    command = Command(
        words,
        env,
        rank=task.rank,
        local_rank=task.local_rank,
        device=layout.device(device),
        cpus=bound.cpus,
    )
    command = command if task.followed else _own(context, command)
    return Plan("exec", (command,), supervised=command.tooled)


def _meeting_point(context: LaunchContext, task: Task) -> tuple[str, int]:
    """Return where the scheduler's ranks meet: each of them must get the same address and port."""
    rendezvous = context.settings[Rendezvous]
    address, port = rendezvous.main_process_ip, rendezvous.main_process_port
    if not address:
        host = "the host of rank 0"
        if task.rank == 0:
            import socket

            host += f" ({socket.gethostname()})"
        raise AccelError(
            f"{task.total} ranks were started on several machines ({context.settings.origin('num_processes')}), but "
            f"main_process_ip isn't set, the address at which they meet: give --main_process_ip, {host}, or "
            "MASTER_ADDR to all ranks"
        )
    if not port:
        raise AccelError(
            f"{describe(context.settings, 'main_process_port')} stands for any free port, and each of {task.total} "
            "ranks would choose another: name one, such as 29500"
        )
    if task.rank == 0 and context.host.probe.ports.busy(port):
        context.findings.refuse_locally(
            f"{describe(context.settings, 'main_process_port')} is in use on this machine: give all ranks another"
        )
    return address, port


ENGINE = Engine(
    make,
    honors=(*RANKS, "bind", *ADDRESS, "machine_rank"),
    ignores={"the ranks of one machine need no rendezvous": (*MEETING, "rdzv_conf", "monitor_interval")},
)
