"""How a forward pass computes, and the bytes that it saves."""

from __future__ import annotations

from typing import Literal

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.model.blueprint import Attention, NormKind

_FP32 = 4

AttentionKind = Literal["eager", "sdpa", "flash"]
Checkpointing = Literal["none", "selective", "full"]


class Compute(Record):
    """How the forward pass is computed.

    `width`: bytes of a number in the type of matrix products. `stream`: of one in the residual stream, which torch's
    autocast leaves in fp32. `trained`: the layers' own weights get gradients. `adapted`: which of q, k, v, o, gate,
    up, down carry adapters. `adapter_copy`: bytes a number of the copy of its input that every adapter makes (0:
    none, they share). `keeps_inputs`: products keep their inputs although their weights are frozen (LLM.int8()).
    `compiled`: torch.compile fuses norms and activations and recomputes them. `repeats_keys`: keys and values are
    repeated for every query head. `pads`: adapters of a part of q, k, v keep their result, which they pad (LitGPT).
    `grouped`: all experts of a layer run together, not one by one. `amp`: the pass runs under torch's autocast, which
    computes LayerNorm in fp32.
    `across`: tokens of the encoder for each token of the decoder. `alone`: there is a single sequence. `wide_sum`:
    layers add to a sum in fp32, whatever the type of the stream inside is (Mamba); `cast_sum`: each gets it cast, as
    under FSDP's mixed precision.
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
    pads: bool = False
    grouped: bool = True
    amp: bool = False
    across: float = 1.0
    alone: bool = False
    wide_sum: bool = False
    cast_sum: bool = False

    def scores(self, it: Attention) -> bool:
        """Return whether attention makes a score for every pair of tokens.

        So it does for sdpa in fp32 where query heads share keys: no fused kernel of torch does both.
        """
        if self.attention != "sdpa":
            return self.attention == "eager"
        return it.eager or self.unfused(it)

    def masks(self, it: Attention) -> bool:
        """Return whether transformers makes a mask of numbers, as it does for attention that it writes itself."""
        return self.attention == "eager" or (it.eager and self.attention == "sdpa")

    def unfused(self, it: Attention) -> bool:
        """Return whether torch itself makes scores for sdpa, in fp32, because no fused kernel takes these heads."""
        if self.attention != "sdpa" or it.eager:
            return False
        return it.unfused or (self.width == _FP32 and it.kv_heads < it.heads and not self.repeats_keys)

    @property
    def flash(self) -> bool:
        """Whether flash attention runs; for sdpa it needs 16 bits on a device."""
        return self.attention == "flash" or (self.attention == "sdpa" and self.width < _FP32)

    @property
    def summed(self) -> int:
        """Bytes of a number in what layers add to."""
        return _FP32 if self.wide_sum else self.stream

    @property
    def enters(self) -> int:
        """Bytes of a number in a layer's input as checkpointing keeps it."""
        return self.stream if self.cast_sum else self.summed

    def behind(self, norm: NormKind) -> Compute:
        """Return how products compute that read what a norm gives; autocast's LayerNorm gives fp32."""
        return self.replace(stream=_FP32) if self.amp and norm == "layer" else self

    @property
    def widens(self) -> bool:
        """Whether autocast computes powers and softmax in fp32."""
        return self.amp and not self.compiled

    @property
    def casts(self) -> bool:
        """Whether every matrix product casts its own input to the narrower type, as under autocast."""
        return self.stream > self.width and not self.compiled


class Saved(Record):
    """Bytes a token, by how tensor parallelism divides them.

    `inner`: inside attention and MLP, always divided. `stream`: at the width of the model, divided with sequence
    parallelism only. `gathered`: inputs of divided matrices, whole on every device, because torch's tensor
    parallelism gathers them before the product that keeps them.
    """

    stream: float = 0.0
    inner: float = 0.0
    gathered: float = 0.0

    def plus(self, *others: Saved) -> Saved:
        """Return the sum."""
        parts = (self, *others)
        return Saved(sum(p.stream for p in parts), sum(p.inner for p in parts), sum(p.gathered for p in parts))

    def times(self, part: float) -> Saved:
        """Return a part of it, or a multiple."""
        return Saved(self.stream * part, self.inner * part, self.gathered * part)

    def split(self, tp: int, *, sequence: bool, again: bool = False) -> float:
        """Return the bytes of one device of `tp`, with sequence parallelism or without.

        `again`: inputs are gathered once more in the backward pass, so only a part is kept (Megatron-Core's
        LinearWithGradAccumulationAndAsyncCommunication).
        """
        return self.inner / tp + self.stream / (tp if sequence else 1) + self.gathered / (tp if again else 1)

    @property
    def whole(self) -> float:
        """All bytes, on one device alone."""
        return self.split(1, sequence=False)
