"""`python -m accel_cli`: the same as `accelerate`."""

import sys

from .main import main

sys.exit(main())
