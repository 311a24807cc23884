"""The arithmetic of activations, held against what PyTorch itself saves in a real training step on the CPU.

Small models are written here in plain torch as transformers writes them, so that these tests run wherever torch is;
with transformers installed (`uv run --group hf`), its own models are counted too. What is compared is the bytes that
one layer more makes autograd keep: every saved tensor's storage once, parameters left out.
"""

from collections.abc import Callable
from typing import Any

import pytest

from accel_estimate import families
from accel_estimate.activations import Compute, layer
from accel_estimate.blueprint import Layer, Mlp
from accel_estimate.loss import backward

torch = pytest.importorskip("torch", reason="torch is not installed: sync the group `torch`")

HIDDEN, INNER, HEADS, KEYS, WIDTH = 64, 160, 4, 2, 16
BATCH, LENGTH = 2, 24


def same(tensor: Any) -> Any:
    return tensor


class Rms(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))

    def forward(self, x: Any) -> Any:
        dtype, wide = x.dtype, x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * wide.to(dtype)


class LowRank(torch.nn.Module):
    """A frozen linear layer with an adapter, as peft writes it."""

    def __init__(self, base: Any, rank: int, dropout: float) -> None:
        super().__init__()
        self.base, self.dropout = base, torch.nn.Dropout(dropout) if dropout else torch.nn.Identity()
        self.down = torch.nn.Linear(base.in_features, rank, bias=False)
        self.up = torch.nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x: Any) -> Any:
        return self.base(x) + self.up(self.down(self.dropout(x.to(self.down.weight.dtype)))) * 2.0


ANGLES = torch.outer(torch.arange(LENGTH), torch.arange(WIDTH)).float()
TURNS = {dtype: (ANGLES.cos().to(dtype), ANGLES.sin().to(dtype)) for dtype in (torch.float32, torch.bfloat16)}


def turned(x: Any) -> Any:
    half, (cos, sin) = x.shape[-1] // 2, TURNS[x.dtype]
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class Attend(torch.nn.Module):
    def __init__(self, *, eager: bool, fused: bool) -> None:
        super().__init__()
        sizes = (HEADS * WIDTH, KEYS * WIDTH, KEYS * WIDTH)
        self.sizes, self.eager = sizes, eager
        if fused:
            self.qkv_proj = torch.nn.Linear(HIDDEN, sum(sizes), bias=False)
        else:
            self.q_proj, self.k_proj, self.v_proj = (torch.nn.Linear(HIDDEN, n, bias=False) for n in sizes)
        self.o_proj = torch.nn.Linear(HEADS * WIDTH, HIDDEN, bias=False)

    def forward(self, x: Any) -> Any:
        b, s, _ = x.shape
        if hasattr(self, "qkv_proj"):
            parts = self.qkv_proj(x).split(self.sizes, -1)
        else:
            parts = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        q, k, v = (part.view(b, s, -1, WIDTH).transpose(1, 2) for part in parts)
        q, k = turned(q).to(v.dtype), turned(k).to(v.dtype)
        if self.eager:
            k, v = (t.repeat_interleave(HEADS // KEYS, dim=1) for t in (k, v))
            scores = torch.matmul(q, k.transpose(2, 3)) * WIDTH**-0.5
            out = torch.matmul(torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype), v)
        else:
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(out.transpose(1, 2).reshape(b, s, -1))


class Gated(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (torch.nn.Linear(HIDDEN, INNER, bias=False) for _ in range(2))
        self.down_proj = torch.nn.Linear(INNER, HIDDEN, bias=False)

    def forward(self, x: Any) -> Any:
        return self.down_proj(torch.nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Plain(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = torch.nn.Linear(HIDDEN, INNER), torch.nn.Linear(INNER, HIDDEN)

    def forward(self, x: Any) -> Any:
        return self.down(torch.nn.functional.gelu(self.up(x)))


class Block(torch.nn.Module):
    def __init__(self, norm: Callable[[int], Any], mlp: Callable[[], Any], *, eager: bool, fused: bool) -> None:
        super().__init__()
        self.first, self.second = norm(HIDDEN), norm(HIDDEN)
        self.attend, self.mlp = Attend(eager=eager, fused=fused), mlp()

    def forward(self, x: Any) -> Any:
        x = x + self.attend(self.first(x))
        return x + self.mlp(self.second(x))


def saved(blocks: Any, x: Any, *, autocast: bool, checkpoint: bool = False) -> int:
    """Run the blocks, and sum the storages that autograd keeps, each once; parameters are left out."""
    known = {p.untyped_storage().data_ptr() for p in blocks.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept.setdefault(storage.data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, same), torch.autocast("cpu", torch.bfloat16, autocast):
        for block in blocks:
            x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=True) if checkpoint else block(x)
    x.float().sum().backward()  # a whole step: what is counted must also serve
    # Narrow copies of weights under autocast are counted with the weights, not here.
    shapes = {tuple(p.shape) for p in blocks.parameters()} | {tuple(reversed(p.shape)) for p in blocks.parameters()}
    return sum(t.untyped_storage().nbytes() for t in kept.values() if not (autocast and tuple(t.shape) in shapes))


def one_more(make: Callable[[], Any], dtype: Any, *, autocast: bool = False, checkpoint: bool = False) -> float:
    """Give the bytes a token that a third layer keeps."""
    totals: list[int] = []
    for count in (2, 3):
        torch.manual_seed(0)
        blocks = torch.nn.ModuleList([make() for _ in range(count)])
        x = torch.randn(BATCH, LENGTH, HIDDEN, dtype=dtype, requires_grad=True)
        totals.append(saved(blocks, x, autocast=autocast, checkpoint=checkpoint))
    return (totals[1] - totals[0]) / (BATCH * LENGTH)


LLAMA = {"model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": 1,
         "num_attention_heads": HEADS, "num_key_value_heads": KEYS, "head_dim": WIDTH, "vocab_size": 32}  # fmt: skip


def described(**changes: Any) -> Layer:
    plan = families.blueprint(LLAMA)
    assert plan is not None
    return plan.decoder.layers[0]._replace(**changes)


def make(dtype: Any, *, eager: bool = False, fused: bool = False, plain: bool = False) -> Callable[[], Any]:
    norm = torch.nn.LayerNorm if plain else Rms
    return lambda: Block(norm, Plain if plain else Gated, eager=eager, fused=fused).to(dtype)


F32, BF16 = torch.float32, torch.bfloat16


@pytest.mark.parametrize("eager", [False, True], ids=["sdpa", "eager"])
@pytest.mark.parametrize(("dtype", "width"), [(F32, 4), (BF16, 2)], ids=["float32", "bfloat16"])
def test_a_llama_layer_to_the_byte(dtype: Any, width: int, eager: bool) -> None:
    how = Compute(width, width, "eager" if eager else "flash")
    assert layer(described(), HIDDEN, LENGTH, how).whole == pytest.approx(
        one_more(make(dtype, eager=eager), dtype), rel=0.002
    )


def test_a_llama_layer_under_autocast() -> None:
    counted = one_more(make(F32), F32, autocast=True)
    assert layer(described(), HIDDEN, LENGTH, Compute(2, 4, "flash")).whole == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize(("dtype", "width"), [(F32, 4), (BF16, 2)], ids=["float32", "bfloat16"])
def test_fused_queries_keys_and_values_stay_alive(dtype: Any, width: int) -> None:
    attention = described().attention
    assert attention is not None
    told = layer(described(attention=attention._replace(fused=True)), HIDDEN, LENGTH, Compute(width, width, "flash"))
    assert told.whole == pytest.approx(one_more(make(dtype, fused=True), dtype), rel=0.005)


@pytest.mark.parametrize(("dtype", "width"), [(F32, 4), (BF16, 2)], ids=["float32", "bfloat16"])
def test_a_layer_with_layer_norm_and_a_plain_mlp(dtype: Any, width: int) -> None:
    mlp = Mlp(INNER, gated=False, bias=True, activation="gelu")
    told = layer(described(norm="layer", mlp=mlp), HIDDEN, LENGTH, Compute(width, width, "flash"))
    assert told.whole == pytest.approx(one_more(make(dtype, plain=True), dtype), rel=0.006)


def frozen(dtype: Any, names: tuple[str, ...], *, dropout: float = 0.0, adapter: Any = None) -> Callable[[], Any]:
    def build() -> Any:
        block = make(dtype)()
        for parameter in block.parameters():
            parameter.requires_grad_(False)
        for owner in (block.attend, block.mlp):
            for name in names:
                if hasattr(owner, name):
                    setattr(owner, name, LowRank(getattr(owner, name), 2, dropout).to(dtype))
                    if adapter is not None:
                        getattr(owner, name).down.to(adapter)
                        getattr(owner, name).up.to(adapter)
        return block

    return build


@pytest.mark.parametrize(("dtype", "width"), [(F32, 4), (BF16, 2)], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    "keys", [(), ("q", "v"), ("q", "k", "v", "o", "gate", "up", "down")], ids=["none", "qv", "all"]
)
def test_frozen_weights_with_adapters(dtype: Any, width: int, keys: tuple[str, ...]) -> None:
    how = Compute(width, width, "flash", trained=False, adapted=frozenset(keys))
    counted = one_more(frozen(dtype, tuple(f"{key}_proj" for key in keys)), dtype)
    small = width * 2 * len(keys)  # what the rank-2 products between two adapters keep, which is not counted
    assert layer(described(), HIDDEN, LENGTH, how).whole == pytest.approx(counted - small, rel=0.005)


def test_dropout_gives_every_adapter_a_copy_and_a_mask() -> None:
    how = Compute(4, 4, "flash", trained=False, adapted=frozenset(("q", "v")), adapter_copy=4 + 4)
    counted = one_more(
        frozen(F32, ("q_proj", "v_proj"), dropout=0.1), F32
    )  # on the CPU the mask is as wide as the rest
    assert layer(described(), HIDDEN, LENGTH, how).whole == pytest.approx(counted - 4 * 2 * 2, rel=0.005)


def test_a_checkpointed_layer_keeps_its_input() -> None:
    from accel_estimate.activations import checkpointed

    told = checkpointed(described(), HIDDEN, Compute(4, 4), "full")
    assert told.whole == one_more(make(F32), F32, checkpoint=True) == 4 * HIDDEN


@pytest.mark.parametrize(("how", "chunks"), [("plain", 1), ("chunked", 8)])
def test_the_loss_keeps_an_fp32_log_softmax_of_every_chunk(how: Any, chunks: int) -> None:
    logits = torch.randn(64, 96, dtype=BF16, requires_grad=True)
    labels = torch.randint(0, 96, (64,))
    kept: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() * (tensor.dtype == F32)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, same):
        parts = zip(logits.chunk(chunks), labels.chunk(chunks), strict=True)
        held = [torch.nn.functional.cross_entropy(part.float(), label, reduction="sum") for part, label in parts]
    per_logit = sum(kept.values()) / logits.numel()
    assert per_logit == pytest.approx(4, rel=0.01)
    # Beside it: logits, their gradient, and the fp32 gradients of log-softmax and of fp32 logits, of one chunk.
    assert backward(2, how) == pytest.approx(2 + (2 if how == "chunked" else 0) + per_logit + 8 / chunks, rel=0.01)
    assert len(held) == chunks


REAL = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", {"num_key_value_heads": 2}),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {"num_key_value_heads": 2, "head_dim": 16}),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel",
             {"n_embd": 64, "n_head": 4, "n_inner": 160, "resid_pdrop": 0.0, "attn_pdrop": 0.0, "embd_pdrop": 0.0}),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", {}),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", {"num_key_value_heads": 2, "num_local_experts": 4}),
    "opt": ("OPTConfig", "OPTForCausalLM", {"ffn_dim": 160, "word_embed_proj_dim": 64, "dropout": 0.0}),
}  # fmt: skip


@pytest.mark.parametrize(("dtype", "width"), [(F32, 4), (BF16, 2)], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", REAL)
@pytest.mark.filterwarnings("ignore")
def test_models_of_transformers(family: str, dtype: Any, width: int) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: sync the group `hf`")
    config_name, model_name, more = REAL[family]
    totals: list[int] = []
    config: Any = None
    for count in (1, 2, 3):
        usual = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "num_hidden_layers": count,
                 "n_layer": count, "vocab_size": 96, "max_position_embeddings": 64, "bos_token_id": 1,
                 "eos_token_id": 2, "pad_token_id": 0, "use_cache": False}  # fmt: skip
        config = getattr(transformers, config_name)(**(usual | more))
        config._attn_implementation = "sdpa"
        model = getattr(transformers, model_name)(config).to(dtype).train()
        ids = torch.randint(3, 90, (BATCH, LENGTH))
        known = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers(), ids)}
        kept: dict[int, Any] = {}

        def pack(tensor: Any, known: set[int] = known, kept: dict[int, Any] = kept) -> Any:
            if tensor.untyped_storage().data_ptr() not in known:
                kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, same):
            model(input_ids=ids)
        totals.append(sum(t.untyped_storage().nbytes() for t in kept.values()))
    plan = families.blueprint(config.to_dict())
    assert plan is not None
    told = layer(plan.decoder.layers[-1], 64, LENGTH, Compute(width, width, "sdpa")).whole
    assert told == pytest.approx((totals[2] - totals[1]) / (BATCH * LENGTH), rel=0.03)
