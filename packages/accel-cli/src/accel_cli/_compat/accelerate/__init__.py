"""A stand-in for Hugging Face's library, seen only by `python -m accelerate.commands.X`; see `_compat_path`."""

from accel_config.search_path import leave_current_folder

leave_current_folder()
