"""`python -m accel_cli`: the same as `accelerate`."""

import sys

from .main import main

if __name__ == "__main__":
    sys.exit(main())
