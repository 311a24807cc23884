"""The command of this package. Not in this version yet."""

import sys


def main() -> int:
    """Say so."""
    print("accel-tpu: not in this version yet", file=sys.stderr)
    return 2
