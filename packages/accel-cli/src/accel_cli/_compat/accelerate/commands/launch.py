"""`python -m accelerate.commands.launch`."""

import sys

from accel_cli.entry import module

sys.exit(module("launch", "launch"))
