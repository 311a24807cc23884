"""`python -m accel_launch`: the same as `accel-launch`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
