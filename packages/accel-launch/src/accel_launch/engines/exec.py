"""One process: the launcher becomes it, so that status, signals and output are the script's own."""

from __future__ import annotations

from accel_config.paradigm import SHARDED

from .. import target
from ..plan import Command, Plan
from .local import contract, meeting_point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import Order


def make(order: Order) -> Plan:
    """Plan the one process; with torchrun's variables where the script expects a process group."""
    laid = order.laid
    env = dict(order.variables)
    grouped = laid.kind in SHARDED or (laid.kind.startswith("MULTI_") and laid.kind != "MULTI_CPU")
    if grouped:
        env.update(contract(order, 0, *meeting_point(order)))
    words = target.argv(order.settings, order.host, order.script)
    command = Command(words, env, rank=0, local_rank=0, device=laid.device(0))
    return Plan("exec", (command,), supervised=False, preload=order.preloaded())
