"""`python -m accelerate.commands.to_fsdp2`."""

import sys

from accel_cli.entry import module

sys.exit(module("to-fsdp2", "to_fsdp2"))
