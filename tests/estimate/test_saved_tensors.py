"""The arithmetic of activations, compared with what PyTorch itself saves in a real training step on the CPU.

Small models are written in plain torch as transformers writes them (blocks.py), so that these tests run wherever torch is;
with transformers installed (`uv run --group hf`), its own models are counted too. What is compared is the bytes that
one layer more makes autograd keep: every saved tensor's storage once, parameters left out.
"""

from typing import Any

import pytest

from accel_estimate.model import families
from accel_estimate.model.blueprint import Layer, Mlp
from accel_estimate.training.activations.compute import Compute
from accel_estimate.training.activations.layers import layer
from accel_estimate.training.loss import backward

HIDDEN, INNER, HEADS, KEYS, WIDTH = 64, 160, 4, 2, 16
BATCH, LENGTH = 2, 24

LLAMA = {"model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": 1,
         "num_attention_heads": HEADS, "num_key_value_heads": KEYS, "head_dim": WIDTH, "vocab_size": 32}  # fmt: skip


def described(**changes: Any) -> Layer:
    blueprint = families.read(LLAMA)
    assert blueprint is not None
    return blueprint.decoder.layers[0].replace(**changes)


@pytest.fixture
def blocks() -> Any:
    """Those models; torch is imported only here, since whoever collects these tests may not run them."""
    pytest.importorskip("torch", reason="torch is not installed: sync the group `torch`")
    from tests.estimate import blocks

    return blocks


WIDTHS = [("float32", 4), ("bfloat16", 2)]


@pytest.mark.parametrize("eager", [False, True], ids=["sdpa", "eager"])
@pytest.mark.parametrize(("dtype", "width"), WIDTHS, ids=["float32", "bfloat16"])
def test_a_llama_layer_to_the_byte(blocks: Any, dtype: str, width: int, eager: bool) -> None:
    how = Compute(width, width, "eager" if eager else "flash")
    assert layer(described(), HIDDEN, LENGTH, how).whole == pytest.approx(
        blocks.one_more(blocks.make(dtype, eager=eager), dtype), rel=0.002
    )


def test_a_llama_layer_under_autocast(blocks: Any) -> None:
    counted = blocks.one_more(blocks.make("float32"), "float32", autocast=True)
    assert layer(described(), HIDDEN, LENGTH, Compute(2, 4, "flash")).whole == pytest.approx(counted, rel=0.02)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("dtype", "width"), WIDTHS, ids=["float32", "bfloat16"])
def test_fused_queries_keys_and_values_stay_alive(blocks: Any, dtype: str, width: int) -> None:
    attention = described().attention
    assert attention is not None
    estimated = layer(
        described(attention=attention.replace(fused=True)), HIDDEN, LENGTH, Compute(width, width, "flash")
    )
    assert estimated.whole == pytest.approx(blocks.one_more(blocks.make(dtype, fused=True), dtype), rel=0.005)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("dtype", "width"), WIDTHS, ids=["float32", "bfloat16"])
def test_a_layer_with_layer_norm_and_a_plain_mlp(blocks: Any, dtype: str, width: int) -> None:
    mlp = Mlp(INNER, gated=False, bias=True, activation="gelu")
    estimated = layer(described(norm="layer", mlp=mlp), HIDDEN, LENGTH, Compute(width, width, "flash"))
    assert estimated.whole == pytest.approx(blocks.one_more(blocks.make(dtype, plain=True), dtype), rel=0.006)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("dtype", "width"), WIDTHS, ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    "keys", [(), ("q", "v"), ("q", "k", "v", "o", "gate", "up", "down")], ids=["none", "qv", "all"]
)
def test_frozen_weights_with_adapters(blocks: Any, dtype: str, width: int, keys: tuple[str, ...]) -> None:
    how = Compute(width, width, "flash", trained=False, adapted=frozenset(keys))
    counted = blocks.one_more(blocks.frozen(dtype, tuple(f"{key}_proj" for key in keys)), dtype)
    small = width * 2 * len(keys)  # what the rank-2 products between two adapters keep, which is not counted
    assert layer(described(), HIDDEN, LENGTH, how).whole == pytest.approx(counted - small, rel=0.005)


def test_dropout_gives_every_adapter_a_copy_and_a_mask(blocks: Any) -> None:
    how = Compute(4, 4, "flash", trained=False, adapted=frozenset(("q", "v")), adapter_copy=4 + 4)
    counted = blocks.one_more(
        blocks.frozen("float32", ("q_proj", "v_proj"), dropout=0.1), "float32"
    )  # on the CPU the mask is as wide as the rest
    assert layer(described(), HIDDEN, LENGTH, how).whole == pytest.approx(counted - 4 * 2 * 2, rel=0.005)


@pytest.mark.exhaustive
def test_a_checkpointed_layer_keeps_its_input(blocks: Any) -> None:
    from accel_estimate.training.activations.whole import checkpointed

    estimated = checkpointed(described(), HIDDEN, Compute(4, 4), "full")
    assert estimated.whole == blocks.one_more(blocks.make("float32"), "float32", checkpoint=True) == 4 * HIDDEN


@pytest.mark.parametrize(("how", "chunks"), [("plain", 1), ("chunked", 8)])
def test_the_loss_keeps_an_fp32_log_softmax_of_every_chunk(blocks: Any, how: Any, chunks: int) -> None:
    torch = blocks.torch
    logits = torch.randn(64, 96, dtype=torch.bfloat16, requires_grad=True)
    labels = torch.randint(0, 96, (64,))
    kept: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() * (
            tensor.dtype == torch.float32
        )
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, blocks.same):
        parts = zip(logits.chunk(chunks), labels.chunk(chunks), strict=True)
        held = [torch.nn.functional.cross_entropy(part.float(), label, reduction="sum") for part, label in parts]
    per_logit = sum(kept.values()) / logits.numel()
    assert per_logit == pytest.approx(4, rel=0.01)
    # In addition: logits, their gradient, and the fp32 gradients of log-softmax and of fp32 logits, of one chunk.
    assert backward(2, how, (5, 0)) == pytest.approx(
        2 + (2 if how == "chunked" else 0) + per_logit + 8 / chunks, rel=0.01
    )
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


@pytest.mark.parametrize(("dtype", "width"), WIDTHS, ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", REAL)
@pytest.mark.filterwarnings("ignore")
def test_models_of_transformers(blocks: Any, family: str, dtype: str, width: int) -> None:
    torch = blocks.torch
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
        model = getattr(transformers, model_name)(config).to(getattr(torch, dtype)).train()
        ids = torch.randint(3, 90, (BATCH, LENGTH))
        known = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers(), ids)}
        kept: dict[int, Any] = {}

        def pack(tensor: Any, known: set[int] = known, kept: dict[int, Any] = kept) -> Any:
            if tensor.untyped_storage().data_ptr() not in known:
                kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, blocks.same):
            model(input_ids=ids)
        totals.append(sum(t.untyped_storage().nbytes() for t in kept.values()))
    blueprint = families.read(config.to_dict())
    assert blueprint is not None
    how = Compute(width, width, "flash")  # which the CPU takes in fp32 too
    estimated = layer(blueprint.decoder.layers[-1], 64, LENGTH, how).whole
    assert estimated == pytest.approx((totals[2] - totals[1]) / (BATCH * LENGTH), rel=0.03)
