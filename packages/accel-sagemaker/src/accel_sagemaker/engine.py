"""The engine that accel-launch finds by its entry point: a plan that is a request."""

from __future__ import annotations

from accel_config.catalogue import Output, Precision, Rendezvous
from accel_launch import Plan

from . import request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.engines import Order

LOCAL = ("gpu_ids", *(one.name for one in (*Rendezvous.settings, *Output.settings) if one.name != "report"))
"""Settings of ranks that this machine starts."""


def make(order: Order) -> Plan:
    """Return the plan for a training job."""
    order.unused("nothing is started on this machine, but a job at SageMaker", *LOCAL)
    made = request.make(order)
    return Plan("sagemaker", (), request=made, summary=_summary(order, made))


def _summary(order: Order, made: request.JobRequest) -> str:
    resources = made.body["ResourceConfig"]
    precision = order.settings[Precision].mixed_precision
    where = f"{resources['InstanceCount']} x {resources['InstanceType']} in {made.region}"
    kind = f", {order.laid.kind}" if order.laid.kind != "NO" else ""
    return f"job {made.name} on {where}{kind}, precision {precision}, engine sagemaker"
