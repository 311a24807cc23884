"""Merging a sharded checkpoint: its metadata, its tensors, the files written."""
