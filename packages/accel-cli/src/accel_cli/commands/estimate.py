"""`estimate-memory`: accel-estimate's own command, with ``--config_file`` for the settings of a launch config."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_estimate import Recipe


def main(argv: Sequence[str] | None = None, program: str = "accelerate-estimate-memory") -> int:
    """Estimate with the arguments of a command line; return the exit status."""
    from accel_estimate.__main__ import main as estimate

    try:
        return estimate(sys.argv[1:] if argv is None else list(argv), launch_config=_recipe, prog=program)
    except Exception as error:
        from accel_config import AccelError

        if not isinstance(error, AccelError):
            raise
        for line in str(error).splitlines():
            print(f"{program}: {line}", file=sys.stderr)
        return error.status


def _recipe(path: str) -> Recipe:
    """Read a launch config; only then are the settings loaded."""
    from ..recipe import recipe

    return recipe(path)
