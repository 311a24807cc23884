"""The command as a process of its own: `accel-estimate`, or `python -m accel_estimate`."""

from __future__ import annotations

import gc
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_estimate.training.recipe import Recipe


def main(
    argv: Sequence[str] | None = None,
    program: str = "accel-estimate",
    *,
    launch_config: Callable[[str], Recipe] | None = None,
) -> int:
    """Run `cli.main` without garbage collection: there are no cycles, and the search costs 10 % of the time."""
    gc.disable()
    from accel_estimate.cli import main as command

    status = command(argv, program, launch_config=launch_config)
    gc.freeze()  # nor at the end of the process
    return status


if __name__ == "__main__":
    from accel_config.search_path import leave_current_folder

    leave_current_folder()
    sys.exit(main())
