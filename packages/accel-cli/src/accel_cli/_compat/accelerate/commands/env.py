"""`python -m accelerate.commands.env`."""

import sys

from accel_cli.entry import module

sys.exit(module("env", "env"))
