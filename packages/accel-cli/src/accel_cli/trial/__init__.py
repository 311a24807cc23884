"""What `accelerate test` runs in each rank.

It needs torch and no package of ours, since the ranks' interpreter may be another.
"""
