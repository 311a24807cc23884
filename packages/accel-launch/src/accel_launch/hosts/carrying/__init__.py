"""Carries the code, and the launcher itself, to machines over the ssh that is open anyway.

`tree` is what is to be carried, `receiving` puts it into a folder there, and `wire` is how both sides speak. The far
side may have nothing of ours yet, so `receiving` and `wire` need the standard library alone.
"""
