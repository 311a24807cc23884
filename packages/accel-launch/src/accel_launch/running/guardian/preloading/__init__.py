"""Modules that are imported once for all ranks, and the process that keeps them for later attempts and launches."""
