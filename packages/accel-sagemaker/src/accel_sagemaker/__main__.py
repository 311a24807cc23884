"""`python -m accel_sagemaker`: the same as `accel-sagemaker`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
