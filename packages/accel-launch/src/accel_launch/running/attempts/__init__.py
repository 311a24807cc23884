"""The attempts of a run: each has a guardian, streams and evidence of its own, and is gone before the next begins."""
