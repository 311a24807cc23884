"""The moments of a training step that may be its peak, on one device."""

from __future__ import annotations

from accel_config.record import Record
from accel_estimate.training import loss
from accel_estimate.training.device import states, uneven
from accel_estimate.training.device.communication import communication, in_a_layer, in_the_embeddings, in_the_loss
from accel_estimate.training.reentrant import holds_inputs
from accel_estimate.training.versions import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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
        states.accumulated(rank),
        states.optimizer(rank),
        (rank.kept.kept - rank.kept.final) * rank.stage.in_flight + rank.kept.final + rank.head_input,
        0.0,
        communication(rank),
    )


def _logits(rank: Rank, *, forward: bool) -> float:
    version, several = numbers(rank.recipe.transformers), rank.recipe.batch_size > 1
    if forward:
        each = loss.forward(rank.logit_width, rank.loss, version, several=several)
    else:
        each = loss.backward(rank.logit_width, rank.loss, version)
    if rank.recipe.outputs == "freed" and not forward:
        each -= loss.output(rank.logit_width, rank.loss, version)
    return (each + rank.width * (rank.capped and rank.loss != "fused")) * rank.logits


def _output(rank: Rank) -> float:
    """Return the bytes of the logits that the script still holds while the layers' backward pass runs."""
    if rank.recipe.outputs == "freed":
        return 0.0
    return loss.output(rank.logit_width, rank.loss, numbers(rank.recipe.transformers)) * rank.logits


def _forward(rank: Rank, at: Parts) -> Moment:
    layers = rank.stage.narrowed if rank.recipe.trains_all else states.casts_kept(rank)
    reads = rank.head_reads - rank.head_input if rank.loss in loss.IN_THE_MODEL else 0.0
    end = at.replace(
        weights=at.weights + states.casts(rank, layers, head=True) + states.adapter_casts(rank, forward=True),
        activations=at.activations + rank.held + rank.kept.given + reads,
        logits=_logits(rank, forward=True),
        communication=at.communication + in_the_loss(rank),
    )
    if rank.kept.scores:  # before there are logits
        scoring = end.replace(
            weights=at.weights + states.casts(rank, layers, head=False) + states.adapter_casts(rank, forward=True),
            activations=at.activations + rank.held - rank.head_input + rank.kept.scores,
            logits=0.0,
        )
        end = max(end, scoring, key=_total)
    if uneven.known(rank):
        made, gathered = uneven.forward(rank)
        running = at.activations + rank.held - rank.head_input - rank.kept.final + made
        end = max(end, end.replace(activations=running, logits=0.0, communication=gathered), key=_total)
    if head := states.unpacked_head(rank):  # beside narrow logits, and the fp32 ones of the pass before
        narrow = end.replace(activations=end.activations + head, logits=(rank.width + 4) * rank.logits)
        end = max(end, narrow, key=_total)
    return Moment("end of the forward pass", "all kept activations, and the loss being worked out", end)


def _loss(rank: Rank, at: Parts) -> Moment:
    casts = states.casts(rank, states.casts_kept(rank), head=True) + states.adapter_casts(rank)
    return Moment(
        "begin of the backward pass, in the loss",
        "all kept activations, and the logits with their gradients",
        at.replace(
            weights=at.weights + casts,
            activations=at.activations + states.unpacked_head(rank),
            logits=_logits(rank, forward=False),
        ),
    )


def _backward_begins(rank: Rank, at: Parts) -> Moment:
    running = max(at.activations - rank.head_input - rank.kept.final, 0.0) + states.dequantized(rank)
    fsdp = rank.recipe.fsdp != "none"
    found: list[Parts] = []
    for part, added, _, between in _parts(rank):
        # A checkpointed layer makes its narrow copies again.
        casts = states.casts(rank, states.casts_kept(rank) or states.casts_again(rank, part), head=False)
        begin = at.replace(
            weights=at.weights + casts + states.adapter_casts(rank),
            gradients=at.gradients
            if fsdp
            else max(at.gradients + states.added(rank, part), states.head_gradient(rank, part)),
            activations=running + added,
            logits=_output(rank),
            communication=at.communication + in_a_layer(rank, part, last=True),
        )
        following = begin.replace(
            gradients=at.gradients + max(rank.behind, 1) * states.layer_gradient(rank),
            activations=running + between - rank.kept.last,
            communication=at.communication + in_a_layer(rank, part),
        )
        found += [begin, following] if fsdp and rank.kept.between else [begin]
    if uneven.known(rank):
        found = [one for index, one in _layers(rank, at, running) if index]
    return Moment(
        "begin of the backward pass, in the last layer",
        "all kept activations, and one layer's whole activations and gradients",
        max(found, key=_total),
    )


def _parts(rank: Rank) -> Iterator[tuple[states.Part, float, float, float]]:
    """Yield the parts of a layer's backward pass, and what each adds: at most, in the first, and between the ends."""
    kept = rank.kept
    between = kept.between or (0.0, 0.0, 0.0)
    yield "layer", kept.layer, kept.first[0], between[0]
    yield "attending", kept.attending, kept.first[1], between[1]
    yield "normalizing", kept.normalizing, kept.first[2], between[2]


def _layers(rank: Rank, at: Parts, running: float) -> Iterator[tuple[int, Parts]]:
    """Yield what there is in every part of every layer's backward pass."""
    for index, part, it in uneven.layers(rank):
        casts = states.casts(rank, states.casts_kept(rank) or states.casts_again(rank, part), head=False)
        weights = at.weights + casts + states.adapter_casts(rank)
        beside = it | {"activations": running + it["activations"]}
        yield index, at.replace(weights=weights, logits=_output(rank), **beside)


def _backward_ends(rank: Rank, at: Parts) -> Moment:
    found: list[Parts] = []
    fsdp = rank.recipe.fsdp != "none"
    held = 0.0 if rank.kept.apart else rank.kept.last
    inputs = 2 * (rank.kept.kept - rank.kept.final - rank.kept.last) if holds_inputs(rank.recipe) else 0.0
    for part, _, first, between in _parts(rank):
        end = at.replace(
            weights=at.weights + states.casts(rank, states.casts_again(rank, part), head=False),
            gradients=max(
                states.gradients(rank) - states.later_gradients(rank, part), at.gradients + states.added(rank, part)
            ),
            optimizer=at.optimizer + (states.stepping(rank) if rank.recipe.optimizer_in_backward else 0.0),
            activations=held + inputs + first + rank.kept.lasting + states.dequantized(rank),
            logits=_output(rank),
            communication=at.communication + in_a_layer(rank, part, first=True),
        )
        behind = end.replace(  # in the layer behind it, which may be larger; FSDP gathers the first one's weights
            gradients=max(end.gradients - states.layer_gradient(rank), at.gradients),
            activations=end.activations + held + between - first,
            communication=at.communication + in_a_layer(rank, part),
        )
        found += [end, behind] if states.grows(rank) and rank.kept.between else [end]
    if uneven.known(rank):
        running = max(at.activations - rank.head_input - rank.kept.final, 0.0)
        found = [one for index, one in _layers(rank, at, running) if not index]
    # The embeddings have a gradient when the decoder is done, and those that an encoder reads too have one again.
    for encoder in {bool(rank.kept.encoder), rank.kept.apart}:
        embedded = found[0].replace(
            weights=at.weights,
            gradients=max(states.gradients(rank) - states.last_gradients(rank, encoder=encoder), at.gradients)
            + states.shared_gradient(rank),
            activations=rank.kept.encoder * encoder + inputs,
            communication=in_the_embeddings(rank, encoder=encoder) if fsdp else at.communication,
        )
        found.append(embedded)
    end = max(found, key=_total)
    return Moment("end of the backward pass", "all gradients, and the first layer's activations", end)


def _total(parts: Parts) -> float:
    return parts.total


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
