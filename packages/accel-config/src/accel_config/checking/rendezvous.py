"""How several machines find each other: their ranks, the main machine's address, the rendezvous."""

from __future__ import annotations

from accel_config.catalogue import DeepSpeed, Launcher, Mpi, Rendezvous, Resources
from accel_config.settings.paradigm import paradigm
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings

BACKENDS = ("static", "c10d", "etcd", "etcd-v2")
"""Torch's own; packages add others as entry points."""


def rank(settings: Settings) -> str:
    """Return why this machine can't have its rank."""
    own, machines = settings[Rendezvous].machine_rank, settings[Resources].num_machines
    if own is None or machines == 1 or own < machines or not _numbered(settings):
        return ""
    return (
        f"machine_rank is {own} ({settings.origin('machine_rank')}), but with {machines} machines "
        f"({settings.origin('num_machines')}) it must be from 0 to {machines - 1}"
    )


def address(settings: Settings) -> str:
    """Return why the main machine can't be reached at its address."""
    main = settings[Rendezvous].main_process_ip
    if not main or settings[Resources].num_machines == 1:
        return ""
    from accel_config.checking.address import unreachable

    why = unreachable(main)
    return f"{describe(settings, 'main_process_ip')} {why}" if why else ""


def backend(settings: Settings) -> str:
    """Return why torch has no such rendezvous; its agents would reject it with a traceback.

    Nothing is known of the backends of another interpreter.
    """
    name = settings[Rendezvous].rdzv_backend
    several = settings[Resources].num_machines > 1 and _numbered(settings)
    if name in BACKENDS or not several or settings[Launcher].python is not None:
        return ""
    from importlib.metadata import entry_points

    if name in entry_points(group="torchrun.handlers").names:
        return ""
    named = describe(settings, "rdzv_backend")
    return f"{named} isn't a rendezvous backend of torch; use static or c10d (or etcd, etcd-v2)"


def _numbered(settings: Settings) -> bool:
    """Whether the launch runs on each machine, with its rank; other engines number the machines themselves."""
    if settings[Launcher].engine not in (None, "torchrun") or settings[Mpi].mpirun_hostfile:
        return False
    kind, launcher = paradigm(settings).kind, settings[DeepSpeed].deepspeed_multinode_launcher
    return launcher in ("standard", "nossh") if kind == "DEEPSPEED" else kind != "XLA"
