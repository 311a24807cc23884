"""Writing the record of a run: its files, its events, its state, and the output of a detached run."""
