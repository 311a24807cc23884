"""The console scripts `accelerate-…` and the modules `accelerate.commands.…`: each runs one command of the table."""

from __future__ import annotations

import sys

from accel_cli.main import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _script(name: str) -> Callable[[], int]:
    """Return the function of the console script for the command ``name``."""
    return lambda: run(name, sys.argv[1:], f"accelerate-{name}")


config = _script("config")
env = _script("env")
estimate_memory = _script("estimate-memory")
launch = _script("launch")
merge_weights = _script("merge-weights")
test = _script("test")


def module(name: str, called: str) -> int:
    """Run the command ``name`` for ``python -m accelerate.commands.CALLED``.

    First remove the stand-in package that led here: a command that looks for Hugging Face's library, or imports a
    package that does, must not find ours in its place.
    """
    from accel_cli import _compat_path

    _compat_path.leave()
    return run(name, sys.argv[1:], f"python -m {_compat_path.PREFIX}{called}")
