"""`accelerate.commands.config` is run by its `__main__`."""
