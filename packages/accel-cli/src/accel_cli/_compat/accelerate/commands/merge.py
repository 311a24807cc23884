"""`python -m accelerate.commands.merge`."""

import sys

from accel_cli.entry import module

sys.exit(module("merge-weights", "merge"))
