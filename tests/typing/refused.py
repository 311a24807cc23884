"""What must not type-check: each line here is an error, and pyright reports the comment if it no longer is."""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnusedVariable=false

from accel_config import Settings
from accel_config.catalogue import Fsdp, Resources
from accel_launch import Plan

Fsdp(fsdp_version="3")  # pyright: ignore[reportArgumentType]
Fsdp(fsdp_shading=1)  # pyright: ignore[reportCallIssue]
Plan(engine="local", commands=3)  # pyright: ignore[reportArgumentType]


def typed(settings: Settings, plan: Plan) -> None:
    """Values keep the type of their declaration."""
    _count: int = settings[Resources].num_processes  # pyright: ignore[reportAssignmentType]
    settings[Resources].num_procs  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018
    plan.engine = "exec"  # pyright: ignore[reportAttributeAccessIssue]
