"""`python -m accel_sagemaker`, the same as `accel-sagemaker`."""

import sys

from accel_config.search_path import leave_current_folder

if __name__ == "__main__":
    leave_current_folder()
    from accel_sagemaker.cli import main

    sys.exit(main())
