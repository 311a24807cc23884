"""`accel-config`: not in this version yet; the settings are read by `accel_config.layers` and `resolve`."""

import sys


def main() -> int:
    """Say so."""
    print("accel-config: writing and checking config files is not in this version yet", file=sys.stderr)
    return 2
