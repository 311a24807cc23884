"""Schedulers: Slurm, mpirun, and Kubernetes' training operators start this process and set its place in the run.

`readers` finds the scheduler by its variables. One module for each scheduler reads them. `precedence` weighs them
against flags, variables and the config file, and `settling` returns the settings of the launch.
"""

from accel_launch.schedulers.readers import READERS, read
from accel_launch.schedulers.settling import settle, task

__all__ = ["READERS", "read", "settle", "task"]
