"""`python -m accelerate.commands.test`."""

import sys

from accel_cli.entry import module

sys.exit(module("test", "test"))
