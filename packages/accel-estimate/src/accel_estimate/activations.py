"""What a training step keeps of its forward pass for the backward pass, counted operation by operation.

The count follows what autograd saves in the eager models of `transformers`: a matrix product keeps its input when its
weight is trained, a gated net keeps three vectors and the input of its last matrix, RMSNorm keeps an fp32 copy and,
when its weight is trained, the normalised vector. It is held against PyTorch's own saved tensors in
tests/estimate/test_saved_tensors.py, and for a Llama layer in 16 bits with flash attention it comes to
16 h + 2 a d + 2 (a + 2 k) d + 8 f bytes a token. The published counterpart for GPT is Korthikanti et al.,
arXiv 2205.05198, equation 2.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from accel_estimate.blueprint import Attention, Blueprint, Experts, Layer, Mlp, NormKind, StateSpace

AttentionKind = Literal["eager", "sdpa", "flash"]
Checkpointing = Literal["none", "selective", "full"]

_FP32 = 4


class Compute(NamedTuple):
    """How the forward pass is computed.

    `width`: bytes of a number in the type of matrix products. `stream`: of one in the residual stream, which torch's
    autocast leaves in fp32. `trained`: the layers' own weights get gradients. `adapted`: which of q, k, v, o, gate,
    up, down carry adapters. `adapter_copy`: bytes a number of the copy of its input that every adapter makes (0:
    none, they share). `keeps_inputs`: products keep their inputs although their weights are frozen (LLM.int8()).
    `compiled`: torch.compile fuses norms and activations and recomputes them. `repeats_keys`: keys and values are
    repeated for every query head.
    """

    width: int
    stream: int
    attention: AttentionKind = "sdpa"
    trained: bool = True
    adapted: frozenset[str] = frozenset()
    adapter_copy: int = 0
    keeps_inputs: bool = False
    compiled: bool = False
    repeats_keys: bool = False

    @property
    def casts(self) -> bool:
        """Whether every matrix product casts its input to the narrower type for itself, as under autocast."""
        return self.stream > self.width and not self.compiled


class Saved(NamedTuple):
    """Bytes a token, by how tensor parallelism divides them.

    `inner`: inside attention and MLP, always divided. `stream`: at the width of the model, divided together with
    sequence parallelism only. `gathered`: inputs of divided matrices, whole on every device, because torch's tensor
    parallelism gathers them before the product that keeps them.
    """

    stream: float = 0.0
    inner: float = 0.0
    gathered: float = 0.0

    def plus(self, *others: "Saved") -> "Saved":
        """Add up."""
        parts = (self, *others)
        return Saved(sum(p.stream for p in parts), sum(p.inner for p in parts), sum(p.gathered for p in parts))

    def split(self, tp: int, *, sequence: bool) -> float:
        """Give the bytes of one device of `tp`."""
        return self.inner / tp + self.stream / (tp if sequence else 1) + self.gathered

    @property
    def whole(self) -> float:
        """All bytes, on one device alone."""
        return self.split(1, sequence=False)


def layer(it: Layer, hidden: int, length: int, how: Compute) -> Saved:
    """Give what one layer saves for every token of a sequence of `length` tokens, without checkpointing."""
    parts = [Saved(stream=it.norms * norm(it.norm, hidden, how))]
    parallel = it.norms == 1 and it.attention is not None and it.mlp is not None
    if it.attention:
        parts.append(_attention(it.attention, length, how, dropout=it.dropout))
        keys = _inputs(it.attention, it.mlp if parallel else None)
        parts.append(Saved(gathered=_kept(hidden, keys, how)))
    if it.cross:
        parts += [_attention(it.cross, length, how, dropout=it.dropout), Saved(gathered=_kept(hidden, ("q",), how))]
    if it.mlp:
        parts.append(_mlp(it.mlp, how))
        if not parallel:
            parts.append(Saved(gathered=_kept(hidden, _first(it.mlp), how)))
    if it.experts:
        parts.append(_experts(it.experts, hidden, how))
    if it.space:
        parts += [_space(it.space, how), Saved(gathered=_kept(hidden, ("in",), how))]
    if it.dropout:  # a one-byte mask after attention and one after the MLP
        parts.append(Saved(stream=hidden * (bool(it.attention) + bool(it.cross) + bool(it.mlp or it.experts))))
    return Saved().plus(*parts)


def norm(kind: NormKind, width: int, how: Compute) -> float:
    """Give what a normalisation saves of one token.

    RMSNorm as written in Python: the fp32 input, one inverse root, and, for the gradient of its weight, the
    normalised vector (Gemma's stays fp32). LayerNorm is one kernel: its input, a mean and an inverse deviation.
    Compiled: the input.
    """
    if how.compiled:
        return how.width * width
    if kind == "layer":
        return how.stream * width + 8
    normalised = 4 if kind == "gemma" else how.stream
    return 4 * width + 4 + (normalised * width if how.trained else 0)


def _inputs(attention: Attention, mlp: Mlp | None) -> tuple[str, ...]:
    keys = ("qkv",) if attention.fused else ("q", "k", "v")
    return keys + (_first(mlp) if mlp else ())


def _first(mlp: Mlp) -> tuple[str, ...]:
    return ("gate", "up") if mlp.gated else ("up",)


def _kept(width: int, keys: Iterable[str], how: Compute) -> float:
    """Give what matrix products fed with the same vector of `width` numbers keep of it."""
    keys = tuple(keys)
    kept = 0.0
    if how.trained or how.keeps_inputs:
        kept += how.width * width * (len(keys) if how.casts else 1)
    adapters = sum(key in how.adapted for key in keys)
    if adapters and how.adapter_copy:
        kept += how.adapter_copy * width * adapters
    elif adapters and not kept:
        kept += how.width * width
    return kept


def _attention(it: Attention, length: int, how: Compute, *, dropout: bool) -> Saved:
    key, value = it.key_width, it.value_width
    if it.kv_rank or how.repeats_keys or how.attention == "eager":  # as many keys and values as query heads
        key, value = it.heads * it.head_dim, it.heads * it.value_dim
    inner = how.width * (it.query_width + key + value) + _around(it, how)
    narrow = how._replace(stream=how.width)  # what attention gives is narrow already: nothing is cast again
    if how.attention == "eager":
        inner += _kept(it.out_width, ("o",), narrow) + it.heads * length * _scores(it, how, dropout=dropout)
        return Saved(inner=inner)
    own = how.adapter_copy * it.out_width if "o" in how.adapted else 0
    return Saved(inner=inner + how.width * it.out_width + own + 4 * it.heads)  # and a log-sum-exp a head


def _around(it: Attention, how: Compute) -> float:
    """Give what stands between the products and attention itself: norms of heads and of latents, and fused products.

    The values are a view of a fused product, which keeps all of it alive beside the turned queries and keys (eager
    attention copies them instead).
    """
    extra = 0.0
    if it.kv_rank:
        extra += (it.q_rank + it.kv_rank) * (4 + 2 * how.width)
    if it.head_norms:
        width = it.query_width + it.key_width
        extra += how.width * width if how.compiled else norm("rms", width, how)
    if it.fused and it.rotary and how.attention != "eager":
        extra += how.width * (it.query_width + it.key_width)
    return extra


def _scores(it: Attention, how: Compute, *, dropout: bool) -> float:
    """Give the bytes of a score of eager attention: an fp32 softmax, its narrow copy, dropout's mask and result.

    In fp32 the copy is the softmax itself. A soft cap (Gemma 2) keeps the tangent of the score.
    """
    copy = 0 if how.width == _FP32 else how.width
    return 4 + (1 + how.width if dropout else copy) + (how.width if it.softcap else 0)


def _mlp(it: Mlp, how: Compute) -> Saved:
    """Give a feed-forward net's inner vectors.

    Gated: the gate, its activation, and the other branch; plain: the input of the activation (a GELU written out in
    Python keeps four vectors, ReLU only its result); and the input of the last matrix where that is kept.
    """
    last = _kept(it.width, ("down",), how._replace(stream=how.width))
    if it.gated:
        return Saved(inner=how.width * it.width * (2 if how.compiled else 3) + last)
    if it.activation == "relu":
        return Saved(inner=max(how.width * it.width, last))
    vectors = 4 if it.activation == "gelu_new" and not how.compiled else 1
    return Saved(inner=how.width * it.width * vectors + last)


def _experts(it: Experts, hidden: int, how: Compute) -> Saved:
    """Give a mixture's vectors: each token is copied to `active` experts, and their results are weighted."""
    one = _mlp(Mlp(it.width), how)
    copies = how.width * hidden * (2 if how.trained or "gate" in how.adapted or "up" in how.adapted else 1)
    shared = _mlp(Mlp(it.shared), how).inner if it.shared else 0
    return Saved(
        stream=_kept(hidden, ("gate",), how) + 8 * it.number, inner=it.active * (one.inner + copies) + shared
    )


def _space(it: StateSpace, how: Compute) -> Saved:
    """Give what mamba_ssm's fused kernel saves (mamba_inner_fn, checkpoint level 1): xz, x_dbl, B, C and out."""
    return Saved(inner=how.width * (3 * it.inner + it.rank + 4 * it.state))


def checkpointed(it: Layer, hidden: int, how: Compute, kind: Checkpointing) -> Saved:
    """Give what a checkpointed layer saves of every token.

    full: its input. selective: its input, the result of attention, and every second matrix product (q, v, gate or up,
    down), as torchtitan's per-operation policy does (torchtitan/distributed/activation_checkpoint.py).
    """
    stream, inner = how.stream * hidden, 0.0
    if kind == "selective":
        for attention in filter(None, (it.attention, it.cross)):
            inner += how.width * (attention.out_width + attention.query_width + attention.value_width)
            inner += 4 * attention.heads
        width = it.mlp.width if it.mlp else it.experts.active * it.experts.width if it.experts else 0
        inner += how.width * width
        stream += how.width * hidden * bool(width)
        if it.space:
            inner += how.width * it.space.inner
    return Saved(stream, inner)


def working(it: Layer, hidden: int, how: Compute) -> Saved:
    """Give the gradients that the backward pass of one layer holds at once: those of the MLP's inner vectors, or of
    q, k, v and the result of attention, and two of the stream."""  # noqa: D205, D209
    mlp = it.mlp.width * (3 if it.mlp.gated else 2) if it.mlp else 0
    if it.experts:
        mlp = 3 * (it.experts.active * it.experts.width + it.experts.shared)
    attention = it.attention or it.cross
    core = (
        attention.query_width + attention.out_width + attention.key_width + attention.value_width if attention else 0
    )
    space = 4 * it.space.inner if it.space else 0
    return Saved(stream=2 * how.stream * hidden, inner=how.width * max(mlp, core, space))


class Total(NamedTuple):
    """Bytes on one device: `kept` at the end of the forward pass, `layer` added while one layer's backward runs."""

    kept: float
    layer: float


class Run(NamedTuple):
    """What goes through the model at once, and how it is divided.

    `batch` sequences of `length` tokens; tensor parallel degree `tp`, with sequence parallelism or without; `share`
    is the part of the layers that this device holds (pipeline parallelism).
    """

    batch: int
    length: int
    kind: Checkpointing = "none"
    tp: int = 1
    sequence: bool = True
    share: float = 1.0


def total(plan: Blueprint, run: Run, how: Compute) -> Total:
    """Add up a whole pass.

    An encoder whose input has a fixed length (an image, a sound) sees that length; any other sees `run.length` too.
    """
    kept = peak = 0.0
    for stack in plan.stacks:
        fixed = plan.encoder_tokens and (stack is plan.encoder or not plan.vocab)
        side = plan.encoder_tokens if fixed else run.length
        cache: dict[Layer, tuple[float, float]] = {}
        for it in stack.layers:
            if it not in cache:
                cache[it] = _one(it, plan.hidden, side, run, how)
            kept += cache[it][0] * run.batch * side * run.share
            peak = max(peak, cache[it][1] * run.batch * side)
        last = Saved(stream=norm(stack.layers[0].norm if stack.layers else "rms", plan.hidden, how))
        kept += last.split(run.tp, sequence=run.sequence) * run.batch * side
    return Total(kept, peak)


def _one(it: Layer, hidden: int, side: int, run: Run, how: Compute) -> tuple[float, float]:
    """Give what a layer keeps of a token, and what its backward pass adds."""
    whole, work = layer(it, hidden, side, how), working(it, hidden, how)
    if run.kind == "none":
        kept, added = whole, work
    else:
        kept, added = checkpointed(it, hidden, how, run.kind), whole.plus(work)
    return kept.split(run.tp, sequence=run.sequence), added.split(run.tp, sequence=run.sequence)
