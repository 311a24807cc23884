"""A stand-in for Hugging Face's library, seen only by `python -m accelerate.commands.X`; see `_compat_path`."""
