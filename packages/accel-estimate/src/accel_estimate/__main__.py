"""`python -m accel_estimate`."""

import sys

from accel_estimate.cli import main

sys.exit(main())
