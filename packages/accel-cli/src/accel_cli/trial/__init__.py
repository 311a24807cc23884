"""The program that `accelerate test` runs in each rank.

It needs torch and no other package of ours, because the ranks' interpreter may be another one.
"""
