"""`python -m accel_launch`: the same as `accel-launch`."""

import sys

from accel_config.search_path import leave_current_folder

if __name__ == "__main__":
    leave_current_folder()
    from accel_launch.cli import main

    sys.exit(main())
