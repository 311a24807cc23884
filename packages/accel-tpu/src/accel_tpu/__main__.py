"""`python -m accel_tpu`, the same as `accel-tpu`."""

import sys

from accel_config.search_path import leave_current_folder

if __name__ == "__main__":
    leave_current_folder()
    from accel_tpu.cli import main

    sys.exit(main())
