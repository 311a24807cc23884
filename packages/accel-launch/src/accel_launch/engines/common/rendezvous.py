"""How machines meet that are each launched on: torch's rendezvous, its address and port, the rank of this machine."""

from __future__ import annotations

from accel_config.catalogue import Launcher, Rendezvous, Resources
from accel_config.errors import AccelError
from accel_config.showing.wording import describe
from accel_launch.planning import target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.engines.context import LaunchContext

# Torch's own backends, each with its parameters for the time that it waits for machines.
LIMITS = {
    "static": ("timeout",),
    "c10d": ("join_timeout", "read_timeout"),
    "etcd": ("timeout",),
    "etcd-v2": ("join_timeout",),
}
# Backends that meet at the main machine; the others meet at a service of their own.
AT_MAIN_MACHINE = ("static", "c10d")


def backend(context: LaunchContext) -> str:
    """Return the rendezvous backend. An elastic run uses c10d unless a user names another.

    Raises:
        AccelError: the backend needs a library that isn't installed.
    """
    elastic, name = context.settings[Resources].num_machines.elastic, context.settings[Rendezvous].rdzv_backend
    if elastic and not context.settings.given("rdzv_backend"):
        return "c10d"
    own_python = context.settings[Launcher].python is None  # another interpreter's packages aren't known here
    if own_python and name.startswith("etcd") and not context.host.probe.packages.has("etcd"):
        from accel_config.showing.installing import command

        python = target.interpreter(context.settings, context.host)
        context.findings.refuse_locally(
            f"{describe(context.settings, 'rdzv_backend')} needs python-etcd, which isn't installed for {python}: "
            f"{command('python-etcd', python=python)}"
        )
    return name


def main_address(context: LaunchContext) -> str:
    """Return the address of the main machine, or of the service at which the machines meet.

    Raises:
        AccelError: it isn't set.
    """
    address = context.settings[Rendezvous].main_process_ip
    if not address:
        raise AccelError(
            f"{_machines(context)}, but main_process_ip isn't set, the address at which they meet: give "
            "--main_process_ip, the address of the machine of rank 0"
        )
    return address


def main_port(context: LaunchContext, *, at_main_machine: bool = True) -> int:
    """Return the port at that address, which must be the same on each machine.

    ``at_main_machine``: the address is the main machine's own, where nothing else may listen on the port.

    Raises:
        AccelError: it isn't set, or is 0, or is in use on the main machine.
    """
    port = context.settings[Rendezvous].main_process_port
    if port == 0:
        raise AccelError(
            f"{describe(context.settings, 'main_process_port')} stands for any free port, and each of "
            f"{context.layout.machines} machines would choose another: name one, such as 29500"
        )
    if port is None:
        raise AccelError(
            f"{_machines(context)}, but main_process_port isn't set, the port at which they meet: give "
            "--main_process_port, the same on every machine, such as 29500"
        )
    if at_main_machine and context.layout.rank == 0 and context.host.probe.ports.busy(port):
        context.findings.refuse_locally(
            f"{describe(context.settings, 'main_process_port')} is in use on this machine, which is the main one: "
            "choose another one for all machines"
        )
    return port


def machine_rank(context: LaunchContext) -> int:
    """Return the rank of this machine; `accel_config.checking.rules` checks that it is one of them.

    Raises:
        AccelError: it isn't set.
    """
    rank = context.settings[Rendezvous].machine_rank
    if rank is None:
        raise AccelError(
            f"{_machines(context)}, but machine_rank isn't set: give --machine_rank, from 0 to "
            f"{context.layout.machines - 1}"
        )
    return rank


def _machines(context: LaunchContext) -> str:
    return f"num_machines is {context.layout.machines} ({context.settings.origin('num_machines')})"
