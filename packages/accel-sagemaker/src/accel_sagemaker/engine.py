"""The engine that accel-launch finds by its entry point: a plan that is a request."""

from __future__ import annotations

from pathlib import Path

from accel_config.catalogue import Precision
from accel_launch import Plan

from . import request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.engines import Order


def make(order: Order) -> Plan:
    """Return the plan for a training job."""
    made = request.make(
        request.Order(
            settings=order.settings,
            laid=order.laid,
            script=order.script,
            variables=order.variables,
            findings=order.findings,
            environ=order.host.environ,
            folder=Path(order.host.cwd),
        )
    )
    return Plan("sagemaker", (), request=made, summary=_summary(order, made))


def _summary(order: Order, made: request.JobRequest) -> str:
    resources = made.body["ResourceConfig"]
    precision = order.settings[Precision].mixed_precision
    where = f"{resources['InstanceCount']} x {resources['InstanceType']} in {made.region}"
    kind = f", {order.laid.kind}" if order.laid.kind != "NO" else ""
    return f"job {made.name} on {where}{kind}, precision {precision}, engine sagemaker"
