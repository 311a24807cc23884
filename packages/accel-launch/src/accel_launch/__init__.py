"""From settings to running processes.

from accel_launch import Host, plan, run

todo = plan(settings, Host.here(), ["train.py"])      # settings: from accel_config.resolve
result = run(todo)
result.status
"""

from .host import Host
from .plan import Command, Plan, plan
from .report import Result
from .run import run

__all__ = ["Command", "Host", "Plan", "Result", "plan", "run"]
