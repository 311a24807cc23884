"""`python -m accelerate.commands.estimate`."""

import sys

from accel_cli.entry import module

sys.exit(module("estimate-memory", "estimate"))
