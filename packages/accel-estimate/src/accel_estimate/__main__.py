"""`python -m accel_estimate`: the same as `accel-estimate`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
