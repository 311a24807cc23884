"""`estimate-memory`: accel-estimate's own command, with ``--config_file`` for the settings of a launch config."""

from __future__ import annotations

import sys

from accel_config import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None, program: str = "accelerate-estimate-memory") -> int:
    """Estimate with the arguments of a command line; return the exit status."""
    from accel_estimate.cli import main as estimate

    from ..recipe import recipe

    try:
        return estimate(sys.argv[1:] if argv is None else list(argv), launch_config=recipe, prog=program)
    except AccelError as error:
        for line in str(error).splitlines():
            print(f"{program}: {line}", file=sys.stderr)
        return error.status
