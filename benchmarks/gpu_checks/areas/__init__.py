"""The checks, a module for each area; a check is called `module.function`."""
