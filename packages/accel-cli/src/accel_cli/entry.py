"""The console scripts `accelerate-…` and the modules `accelerate.commands.…`: each is one command of the table."""

from __future__ import annotations

import sys

from .main import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _script(name: str) -> Callable[[], int]:
    """Return what the console script of the command ``name`` calls."""
    return lambda: run(name, sys.argv[1:], f"accelerate-{name}")


config = _script("config")
env = _script("env")
estimate_memory = _script("estimate-memory")
launch = _script("launch")
merge_weights = _script("merge-weights")
test = _script("test")


def module(name: str, called: str) -> int:
    """Run the command ``name`` for ``python -m accelerate.commands.CALLED``.

    The stand-in package that led here is taken away first: a command that looks for Hugging Face's library, or
    imports a package that does, must not find ours in its place.
    """
    from . import _compat_path

    _compat_path.leave()
    return run(name, sys.argv[1:], f"python -m {_compat_path.PREFIX}{called}")
