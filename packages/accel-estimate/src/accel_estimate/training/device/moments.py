"""The moments of a training step that may be its peak, on one device."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.training import loss
from accel_estimate.training.device import states
from accel_estimate.training.device.communication import communication, unsharded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_estimate.training.device.rank import Rank


class Parts(Record):
    """Bytes on one device at one moment."""

    weights: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    communication: float = 0.0

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return sum(amount for _, amount in self)


class Moment(Record):
    """A moment of the step that may be its peak."""

    name: str
    why: str
    parts: Parts


def moments(rank: Rank) -> list[Moment]:
    """Return every moment that may be the peak, in the order of the step."""
    at = _standing(rank)
    return [
        _forward(rank, at),
        _loss(rank, at),
        _backward_begins(rank, at),
        _backward_ends(rank, at),
        _steps(rank, at),
    ]


def _standing(rank: Rank) -> Parts:
    """Return what is there at the end of the forward pass and until it is used, without the loss."""
    return Parts(
        states.weights(rank),
        states.gradients(rank) if rank.recipe.gradient_accumulation > 1 else 0.0,
        states.optimizer(rank),
        rank.kept.kept * rank.stage.in_flight + rank.head_input,
        0.0,
        communication(rank),
    )


def _logits(rank: Rank, per_logit: Callable[[int, loss.Loss], float]) -> float:
    kind = rank.recipe.loss_kind
    more = 4 if rank.how.keeps_fp32_logits and kind == "plain" else 0
    return (per_logit(rank.width, kind) + more) * rank.logits


def _forward(rank: Rank, at: Parts) -> Moment:
    layers = rank.stage.linear if rank.recipe.trains_all else states.casts_kept(rank)
    return Moment(
        "end of the forward pass",
        "all kept activations, and the loss being worked out",
        at.replace(weights=at.weights + states.casts(rank, layers, head=True), logits=_logits(rank, loss.forward)),
    )


def _loss(rank: Rank, at: Parts) -> Moment:
    casts = states.casts(rank, states.casts_kept(rank), head=True)
    return Moment(
        "begin of the backward pass, in the loss",
        "all kept activations, and the logits with their gradients",
        at.replace(weights=at.weights + casts, logits=_logits(rank, loss.backward)),
    )


def _backward_begins(rank: Rank, at: Parts) -> Moment:
    # A checkpointed layer makes its narrow copies again.
    casts = states.casts(rank, states.casts_kept(rank) or rank.stage.largest_block, head=False)
    return Moment(
        "begin of the backward pass, in the last layer",
        "all kept activations, and one layer's whole activations and gradients",
        at.replace(
            weights=at.weights + casts,
            gradients=max(at.gradients, states.head_gradient(rank)),
            activations=at.activations + rank.kept.layer + states.dequantized(rank),
            communication=at.communication + unsharded(rank),
        ),
    )


def _backward_ends(rank: Rank, at: Parts) -> Moment:
    return Moment(
        "end of the backward pass",
        "all gradients, and the first layer's activations",
        at.replace(
            weights=at.weights + states.casts(rank, rank.stage.largest_block, head=False),
            gradients=states.gradients(rank),
            activations=rank.kept.layer + states.dequantized(rank),
            communication=at.communication + unsharded(rank),
        ),
    )


def _steps(rank: Rank, at: Parts) -> Moment:
    return Moment(
        "optimizer step",
        "weights, all gradients and the optimizer's states",
        at.replace(
            gradients=states.gradients(rank),
            optimizer=at.optimizer + states.stepping(rank),
            activations=0.0,
            communication=communication(rank) if rank.recipe.fsdp == "none" else 0.0,
        ),
    )
