"""A module for `--preload` that ends the ranks of the first attempt before they are Python's."""

import os

importing, forking = os.getpid(), []


def leave():
    # The first fork is the process that is parked, in which other forks follow.
    if forking[-1] == importing and len(forking) > 1:
        os._exit(9)


os.register_at_fork(before=lambda: forking.append(os.getpid()), after_in_child=leave)
