"""Our own checks, in their order."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from accel_cli.trial.record import Recorder
    from accel_cli.trial.world import World


def run(recorder: Recorder, folder: Path) -> int:
    """Run every check; return the rank's exit status."""
    recorder.run("torch", _torch)
    if recorder.failed:
        return 1
    from accel_cli.trial.world import World

    world = World()
    for name, step in (("device", world.take_device), ("process group", world.connect)):
        recorder.run(name, step)
        if recorder.failed:
            return 1
    return _together(recorder, world, folder)


def _together(recorder: Recorder, world: World, folder: Path) -> int:
    from accel_cli.trial import checks

    in_step = all(recorder.run(name, check, world.vote) for name, check in checks.every(world, folder))
    recorder.write(name="", state="end", library=_library())
    world.leave(in_step=in_step)
    return int(recorder.failed)


def _torch() -> str:
    from accel_cli.trial.record import Wrong

    try:
        import torch
        import torch.distributed as dist
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise Wrong(f"{sys.executable} has no torch; install it there") from None
    if not dist.is_available():
        raise Wrong(f"torch {torch.__version__} was built without torch.distributed")
    return torch.__version__


def _library() -> str:
    """Return the version of Hugging Face's accelerate, or an empty text if it isn't installed."""
    from accel_config.showing.installing import version

    return version("accelerate", "")
