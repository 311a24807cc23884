"""macOS and Windows, imitated on Linux: what isn't there is taken away from the packages, and from nothing else."""
