"""`python -m accel_config`: the same as `accel-config`."""

import sys

from accel_config.search_path import leave_current_folder

if __name__ == "__main__":
    leave_current_folder()
    from accel_config.cli import main

    sys.exit(main())
