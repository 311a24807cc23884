"""`python -m accel_config`: the same as `accel-config`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
