"""Engine ``local``: processes on this machine under the launcher's own supervisor, without torch's agent."""

from __future__ import annotations

from accel_config.catalogue import Rendezvous
from accel_config.errors import AccelError
from accel_config.showing.wording import describe
from accel_launch.engines.common.meeting import meeting_point, torch_variables
from accel_launch.engines.common.wrapping import rank_command
from accel_launch.engines.declaration import ADDRESS, MEETING, RANKS, Engine
from accel_launch.planning.types import Command, Plan, Restarting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.engines.context import LaunchContext


def make(context: LaunchContext) -> Plan:
    """Plan one command for each rank, with the variables that torchrun sets.

    Raises:
        AccelError: the run has several machines.
    """
    layout = context.layout
    if layout.machines > 1:
        raise AccelError(
            f"{describe(context.settings, 'num_machines')}: the engine local starts ranks on one machine; leave out "
            "--engine, or give --engine torchrun"
        )
    settings = context.settings[Rendezvous]
    address, port = meeting_point(context)
    restarts = {"TORCHELASTIC_MAX_RESTARTS": str(settings.max_restarts)}
    words = rank_command(context)

    def command(rank: int) -> Command:
        bound = context.binding(rank)
        variables = {
            **context.variables,
            **bound.variables,
            **torch_variables(context, rank, address, port),
            **layout.own(rank),
            **restarts,
        }
        return Command(words, variables, rank=rank, local_rank=rank, device=layout.device(rank), cpus=bound.cpus)

    commands = tuple(map(command, range(layout.local)))
    if context.selects:
        from accel_launch.engines.common.selected import with_own

        commands = tuple(with_own(context, command) for command in commands)
    named = port if port == settings.main_process_port else 0
    return Plan(
        "local",
        commands,
        preload=(),
        restarting=Restarting(settings.max_restarts, policy=settings.restart_policy, port=named),
    )


ENGINE = Engine(
    make,
    # The death of a rank is noticed at once, so a monitor_interval has nothing to shorten, and is no mistake.
    honors=(*RANKS, "bind", *ADDRESS, "machine_rank", "max_restarts", "restart_policy", "monitor_interval"),
    ignores={"the ranks of one machine need no rendezvous": (*MEETING, "rdzv_conf")},
)
