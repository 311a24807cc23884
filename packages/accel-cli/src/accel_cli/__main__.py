"""`python -m accel_cli`, the same as `accelerate`."""

import sys

from accel_config.search_path import leave_current_folder

if __name__ == "__main__":
    leave_current_folder()
    from accel_cli.main import main

    sys.exit(main())
