"""`python -m accelerate.commands.config`."""

import sys

from accel_cli.entry import module

sys.exit(module("config", "config"))
