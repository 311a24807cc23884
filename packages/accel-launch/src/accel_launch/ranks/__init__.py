"""Programs that run by their path in processes of the ranks, on any interpreter: the standard library alone.

A program can import other files of this folder by their bare name, once it has put the folder first on `sys.path`.
The launcher imports the same files as ``accel_launch.ranks.NAME``, so that what both sides need is written once.
"""

import os

FORK_SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fork_server")
"""The folder that makes Python the fork server if it is first on PYTHONPATH."""
