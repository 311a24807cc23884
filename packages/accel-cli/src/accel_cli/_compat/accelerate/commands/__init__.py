"""The modules that can be run."""
