"""The meeting point of the ranks, and the variables by which torch finds it."""

from __future__ import annotations

from accel_config.catalogue import Rendezvous
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.engines.context import LaunchContext


def meeting_point(context: LaunchContext, first_host: str = "127.0.0.1") -> tuple[str, int]:
    """Return the address and the port at which the ranks meet, for an engine that starts all of them from here.

    Without main_process_port it is a port that is free on this machine. Of several machines the first often is this
    one; on another one such a port is likely to be free too, whereas a fixed port would collide as soon as two runs
    share a host.

    Args:
        context: The facts of the launch.
        first_host: The host of rank 0, used without main_process_ip. On one machine it is always this one.
    """
    if context.layout.machines == 1:
        return _on_this_machine(context)
    rendezvous = context.settings[Rendezvous]
    address = rendezvous.main_process_ip or first_host
    port = rendezvous.main_process_port or context.host.probe.ports.free()
    if not rendezvous.main_process_ip:
        context.findings.notes.append(f"main_process_ip isn't set: {address}, the first host")
    if not rendezvous.main_process_port:
        context.findings.notes.append(f"main_process_port isn't set: {port}")
    return address, port


def _on_this_machine(context: LaunchContext) -> tuple[str, int]:
    rendezvous = context.settings[Rendezvous]
    address = rendezvous.main_process_ip or "127.0.0.1"
    port = rendezvous.main_process_port or 0
    if port and context.host.probe.ports.busy(port):
        context.findings.notes.append(
            f"{describe(context.settings, 'main_process_port')} is in use: the run uses a free port instead"
        )
        port = 0
    return address, port or context.host.probe.ports.free()


def place_of(context: LaunchContext, local_rank: int) -> str:
    """Return a rank's LOCAL_RANK: 0 if it sees its device alone, as with torchrun's ``--virtual-local-rank``.

    Hugging Face's library hands it to torch as the number of the device, for DDP and for barriers.
    """
    return "0" if context.layout.apart else str(local_rank)


def torch_variables(context: LaunchContext, rank: int, address: str, port: int) -> dict[str, str]:
    """Return the variables that torchrun gives a worker on one machine.

    `torch.distributed.init_process_group` reads them.
    """
    size = str(context.layout.local)
    found = {
        "RANK": str(rank),
        "LOCAL_RANK": place_of(context, rank),
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": size,
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
        "ROLE_NAME": context.settings[Rendezvous].role,
        "ROLE_RANK": str(rank),
        "ROLE_WORLD_SIZE": size,
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_RUN_ID": "none",
        # Rank 0 opens the store itself: there is no agent to do it.
        "TORCHELASTIC_USE_AGENT_STORE": "False",
    }
    if not context.host.environ.get("TORCH_NCCL_ASYNC_ERROR_HANDLING"):
        found["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "1"
    return found
