"""`python -m accelerate.commands.accelerate_cli`: the whole command."""

import sys

from accel_cli._compat_path import leave
from accel_cli.main import main

leave()
sys.exit(main())
