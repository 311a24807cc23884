"""What starts the ranks: each engine is a pure function from an order to a plan, in a file of its own.

Other packages add engines by entry points of the group ``accel_launch.engines``.
"""

from __future__ import annotations

from accel_config.catalogue import DeepSpeed, Launcher, Mpi, Rendezvous
from accel_config.errors import AccelError, nearest
from accel_config.origin import SCHEDULER
from accel_config.paradigm import sagemaker
from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_config.settings import Settings

    from ..checks import Findings
    from ..host import Host
    from ..layout import Layout
    from ..plan import Plan

GROUP = "accel_launch.engines"
BUILT_IN = {
    "exec": "accel_launch.engines.exec",
    "local": "accel_launch.engines.local",
    "torchrun": "accel_launch.engines.torchrun",
    "deepspeed": "accel_launch.engines.deepspeed",
    "mpi": "accel_launch.engines.mpi",
    "slurm": "accel_launch.engines.slurm",
}
# Engines of packages that install apart, and what to install.
ELSEWHERE = {"tpu": "accel-tpu", "tpu-pod": "accel-tpu", "sagemaker": "accel-sagemaker"}
# What only machines need that meet by torch's agents.
MEETING = (
    *("rdzv_backend", "same_network", "run_id", "join_timeout"),
    *("lifeline_port", "lifeline_timeout", "lifeline_secret_file"),
)
# Engines whose script is on the machines that they run it on, and not here.
REMOTE = frozenset(("tpu-pod",))


class Order(Record):
    """All that an engine makes its plan from."""

    settings: Settings
    host: Host
    laid: Layout
    script: tuple[str, ...]
    variables: dict[str, str]
    findings: Findings

    def unused(self, why: str, *names: str) -> None:
        """Note those settings that somebody gave, though this engine has no use for them."""
        for name in names:
            value = self.settings.value(name)
            if value.given and value.origin.layer < SCHEDULER:
                self.findings.notes.append(f"{name} ({value.origin}) has no effect: {why}")

    def alone(self, *more: str) -> None:
        """Note those settings that somebody gave for several machines, though there is one."""
        self.unused("the ranks of one machine need no rendezvous", *MEETING, *more)

    def preloaded(self) -> tuple[str, ...]:
        """Return the modules to import once for all ranks; none unless somebody asks for it.

        Raises:
            AccelError: what is given are no modules, or one of them isn't there.
        """
        if not self.settings[Launcher].preload:
            return ()
        from ..preload import chosen

        return chosen(self)


def away(settings: Settings) -> bool:
    """Whether the run is a job of a service, so that the devices of this machine don't matter to it."""
    return sagemaker(settings) if settings[Launcher].engine is None else settings[Launcher].engine == "sagemaker"


def choose(settings: Settings, laid: Layout) -> str:
    """Return the name of the engine for these settings."""
    named = settings[Launcher].engine
    if named:
        return named
    if away(settings):
        return "sagemaker"
    if laid.kind == "XLA":
        return "tpu-pod" if settings.value("tpu_cluster").value else "tpu"
    if settings[Mpi].mpirun_hostfile:
        return "mpi"
    if laid.kind == "DEEPSPEED" and laid.machines > 1:
        return "torchrun" if settings[DeepSpeed].deepspeed_multinode_launcher == "standard" else "deepspeed"
    if laid.machines > 1 or settings[Rendezvous].max_restarts:
        return "torchrun"
    return "exec" if laid.total == 1 else "local"


def load(name: str) -> Callable[[Order], Plan]:
    """Return the engine's planning function.

    Raises:
        AccelError: there is no engine of that name; the message says what there is, or what to install.
    """
    from importlib import import_module

    if name in BUILT_IN:
        return import_module(BUILT_IN[name]).make
    from importlib.metadata import entry_points

    others = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name in others:
        return others[name].load()
    if name in ELSEWHERE:
        raise AccelError(f"the engine {name!r} comes with {ELSEWHERE[name]}: pip install {ELSEWHERE[name]}")
    known = (*BUILT_IN, *others)
    raise AccelError(f"there is no engine {name!r}{nearest(name, known)}; there are {', '.join(known)}")
