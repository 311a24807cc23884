"""The engines there are, and which of them a launch uses.

Engines are entry points of the group ``accel_launch.engines``. Those of this package are also in a table, because
reading entry points would cost a launch more than everything else that it does.
"""

from __future__ import annotations

from accel_config.catalogue import CATALOGUE, DeepSpeed, Launcher, Mpi, Rendezvous
from accel_config.errors import AccelError, nearest
from accel_config.settings.paradigm import sagemaker
from accel_launch.engines.declaration import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from accel_config.settings.resolved import Settings
    from accel_launch.planning.layout import Layout

GROUP = "accel_launch.engines"
# The module of each engine of this package, whose declaration is called ENGINE.
BUILT_IN = {
    "exec": "accel_launch.engines.exec",
    "local": "accel_launch.engines.local",
    "torchrun": "accel_launch.engines.torchrun",
    "deepspeed": "accel_launch.engines.deepspeed",
    "mpi": "accel_launch.engines.mpi",
    "slurm": "accel_launch.engines.slurm",
}
# Engines of packages that may be missing, and what to install.
OPTIONAL = {"tpu": "accel-tpu", "tpu-pod": "accel-tpu", "sagemaker": "accel-sagemaker"}


def names() -> list[str]:
    """Return the names of all engines that are installed, this package's first."""
    from accel_config.settings.registry import registered

    return list(dict.fromkeys([*BUILT_IN, *registered(GROUP)]))


def load(name: str, origin: str = "") -> Engine:
    """Return the engine called ``name``; ``origin`` is where the name came from, for messages.

    Raises:
        AccelError: there is no such engine (the message lists those that there are, or what to install), its package
            is broken, or its entry point doesn't lead to a valid `Engine`.
    """
    if name in BUILT_IN:
        return __import__(BUILT_IN[name], fromlist=("ENGINE",)).ENGINE
    from importlib.metadata import entry_points

    entry = next(iter(entry_points(group=GROUP, name=name)), None)
    if entry is not None:
        return _checked(name, entry)
    if name in OPTIONAL:
        from accel_config.showing.installing import command

        raise AccelError(f"the engine {name!r} comes with {OPTIONAL[name]}: {command(OPTIONAL[name])}")
    known = names()
    place = f"{origin}: " if origin else ""
    raise AccelError(f"{place}there is no engine {name!r}{nearest(name, known) or '.'} Engines: {', '.join(known)}")


def _checked(name: str, entry: EntryPoint) -> Engine:
    """Return the engine of another package, whose mistakes are its own.

    Raises:
        AccelError: it can't be imported, isn't an `Engine`, or names a setting that doesn't exist.
    """
    package = f"{entry.dist.name}, " if entry.dist is not None else ""
    whose = f"the engine {name!r} ({package}{entry.value})"
    try:
        engine = entry.load()
    except (Exception, SystemExit) as error:
        from accel_config.showing.installing import remedy

        way = remedy(error) if isinstance(error, ModuleNotFoundError) else ""
        raise AccelError(f"{whose} can't be loaded: {way or f'{type(error).__name__}: {error}'}") from None
    if not isinstance(engine, Engine):
        raise AccelError(f"{whose} isn't an accel_launch.engines.Engine")
    unknown = [one for one in engine.named_settings if one not in CATALOGUE.by_name]
    if unknown:
        raise AccelError(
            f"{whose} declares {unknown[0]!r}, which isn't a setting{nearest(unknown[0], CATALOGUE.by_name)}"
        )
    return engine


def choose(settings: Settings) -> str | None:
    """Return the engine that the settings name; None where the ranks decide (`choose_by_ranks`)."""
    named = settings[Launcher].engine
    return "sagemaker" if named is None and sagemaker(settings) else named


def choose_by_ranks(settings: Settings, layout: Layout) -> str:
    """Return the name of the engine for these ranks, where no setting names one."""
    if layout.kind == "XLA":
        return "tpu-pod" if settings.value("tpu_cluster").value else "tpu"
    if settings[Mpi].mpirun_hostfile:
        return "mpi"
    if layout.kind == "DEEPSPEED" and layout.machines > 1:
        return "torchrun" if settings[DeepSpeed].deepspeed_multinode_launcher == "standard" else "deepspeed"
    if layout.machines > 1:
        return "torchrun"
    return "exec" if layout.total == 1 and not settings[Rendezvous].max_restarts else "local"
