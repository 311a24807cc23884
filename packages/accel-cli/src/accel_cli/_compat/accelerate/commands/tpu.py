"""`python -m accelerate.commands.tpu`."""

import sys

from accel_cli.entry import module

sys.exit(module("tpu-config", "tpu"))
