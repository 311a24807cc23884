"""`python -m accel_tpu`: the same as `accel-tpu`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
