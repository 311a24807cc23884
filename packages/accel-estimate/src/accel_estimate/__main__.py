"""The command as a process of its own: `accel-estimate`, or `python -m accel_estimate`."""

import gc
import sys
from typing import Any


def main(argv: list[str] | None = None, **more: Any) -> int:
    """Run `cli.main`. Nothing that it makes is a cycle, and to look for some would take a tenth of its time."""
    gc.disable()
    from accel_estimate.cli import main as command

    status = command(argv, **more)
    gc.freeze()  # nor at the end of the process
    return status


if __name__ == "__main__":
    sys.exit(main())
