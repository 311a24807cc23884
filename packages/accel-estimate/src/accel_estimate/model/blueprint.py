"""What a model is made of as far as memory depends on it: its layers and their widths."""

from __future__ import annotations

from typing import Literal

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NormKind = Literal["rms", "gemma", "t5", "layer"]
"""How a block normalizes: RMSNorm, Gemma's (fp32 throughout), T5's (multiplies its narrow input), or LayerNorm."""

Shape = tuple[str, tuple[int, ...]]
"""A tensor's name and its shape."""


class Attention(Record):
    """Self- or cross-attention. `value_dim` differs from `head_dim` (queries and keys) in latent attention only.

    `window` > 0 is a sliding window. `kv_rank` > 0 is multi-head latent attention (MLA, DeepSeek-V2), which caches
    `kv_rank + rope_dim` numbers a token; `q_rank` > 0 compresses its queries. `eager`: transformers writes it with
    scores even where `sdpa` is asked for. `copied`: heads aren't where
    flash attention leaves them, so its result is copied. `biased`: a bias for every
    pair of tokens is added to the scores. `unfused`: no kernel takes its heads, so torch makes scores in fp32.
    """

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    window: int = 0
    kv_rank: int = 0
    rope_dim: int = 0
    q_rank: int = 0
    bias: bool = False
    key_bias: bool = True
    out_bias: bool = False
    head_norms: bool = False
    fused: bool = False
    sinks: bool = False
    rotary: bool = True
    softcap: bool = False
    eager: bool = False
    copied: bool = False
    unfused: bool = False
    biased: bool = False

    @property
    def query_width(self) -> int:
        """Width of all queries together."""
        return self.heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Width of all keys together, as attention sees them."""
        return self.kv_heads * self.head_dim

    @property
    def value_width(self) -> int:
        """Width of all values together."""
        return self.kv_heads * self.value_dim

    @property
    def out_width(self) -> int:
        """Width of the result of attention, before its output projection."""
        return self.heads * self.value_dim


class Mlp(Record):
    """A feed-forward net: two matrices, or three when `gated`; `dropout` is in front of the last.

    `fused`: the first two matrices are one.
    """

    width: int
    gated: bool = True
    bias: bool = False
    activation: str = "silu"
    dropout: bool = False
    fused: bool = False


class Experts(Record):
    """`number` experts, of which each token visits `active`; `shared` is the width that every token visits.

    `wide_router`: the router computes in fp32; `wide_weights`: so are the weights that it gives. `adapts`:
    peft gives all experts of a block adapters, as one tensor.
    """

    number: int
    active: int
    width: int
    shared: int = 0
    shared_gate: bool = False
    wide_router: bool = False
    wide_weights: bool = False
    adapts: bool = False
    bias: bool = False
    stacked: bool = False


class StateSpace(Record):
    """A Mamba mixer; its state of `inner * (state + conv)` numbers doesn't grow with the sequence."""

    inner: int
    state: int
    conv: int
    rank: int
    normed: bool = False


class Layer(Record):
    """One repeated block. `norms` counts its normalisations of the hidden width.

    `parallel`: attention and MLP begin from the same vector; with two norms, each from its own.
    """

    attention: Attention | None = None
    cross: Attention | None = None
    mlp: Mlp | None = None
    experts: Experts | None = None
    space: StateSpace | None = None
    norms: int = 2
    norm: NormKind = "rms"
    dropout: bool = False
    parallel: bool = False
    extras: tuple[Shape, ...] = ()


class Stack(Record):
    """Layers one after the other, named `PREFIX.0`, `PREFIX.1`, and so on."""

    prefix: str
    layers: tuple[Layer, ...]


# What each linear layer of a block is called; families rename some.
NAMES: dict[str, str] = {
    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
    "qkv": "self_attn.qkv_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
    "cross": "encoder_attn", "norm": "norm_{}", "experts": "mlp.experts", "router": "mlp.gate",
    "shared": "mlp.shared_expert", "space": "mixer",
}  # fmt: skip


class Blueprint(Record):
    """A whole model. `extras` are the tensors outside its stacks: embeddings, last norm, head.

    `vocab` is the number of logits of a token (0: no language head). `encoder_tokens` is the length of the encoder's
    input if that is fixed (patches of an image, frames of a sound), else 0. A model that isn't `causal` caches
    nothing. `guessed`: the family isn't known, and was read as a plain decoder. `softcap`: the logits are capped.
    `narrow_loss`: the loss doesn't ask for fp32.
    `vectors` (in the type of the stream), `narrow_vectors` (in that of products) and `masks` (of dropout): vectors of
    the hidden width that are kept outside layers. `moved`: embeddings whose result isn't the first layer's input.
    `frozen`: a tensor that is never trained.
    `wide_sum`: layers add to a sum in fp32. `wide_logits`: the model gives fp32 logits.
    `nested`: under FSDP a layer's mixer is a unit inside the layer's own (`_no_split_modules` names both).
    `norms_stream`: what a layer gives is normalized (BERT), so autocast makes the stream fp32.
    """

    family: str
    hidden: int
    vocab: int
    decoder: Stack
    encoder: Stack | None = None
    extras: tuple[Shape, ...] = ()
    tied: bool = False
    positions: int = 0
    encoder_tokens: int = 0
    names: Mapping[str, str] = NAMES
    guessed: bool = False
    causal: bool = True
    softcap: bool = False
    narrow_loss: bool = False
    vectors: int = 0
    narrow_vectors: int = 0
    masks: int = 0
    moved: int = 0
    frozen: str = ""
    norms_stream: bool = False
    wide_sum: bool = False
    wide_logits: bool = False
    nested: bool = False

    @property
    def fixed(self) -> bool:
        """Whether every sequence has the length of the model's own input, such as the patches of an image."""
        return self.encoder_tokens > 0 and not self.vocab

    @property
    def uneven(self) -> bool:
        """Whether some layers have attention, and others a state space."""
        kinds = {bool(it.space) for it in self.decoder.layers}
        return len(kinds) > 1 and not self.encoder

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """The encoder, if there is one, and the decoder."""
        return (self.encoder, self.decoder) if self.encoder else (self.decoder,)

    def layers(self) -> Iterator[Layer]:
        """Yield every layer of every stack."""
        for stack in self.stacks:
            yield from stack.layers
