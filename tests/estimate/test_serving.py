"""Serving: the cache of every kind of layer, and how far a device goes."""

import json
from pathlib import Path
from typing import Any

import pytest

from accel_estimate import Serving
from accel_estimate.answer.answers import Server
from accel_estimate.errors import UsageError
from accel_estimate.model import families, parameters
from accel_estimate.model.sizes import loaded_bytes
from accel_estimate.model.weights import logical
from accel_estimate.serving.cache import cache
from accel_estimate.serving.server import estimate_serving
from tests.estimate.conftest import LLAMA

KNOWN = json.loads((Path(__file__).parent / "families.json").read_text())


def blueprint_of(name: str, **changes: Any) -> Any:
    blueprint = families.read(KNOWN[name]["config"] | changes)
    assert blueprint is not None
    return blueprint


def used(name: str, config: dict[str, Any] | None = None, **settings: Any) -> float:
    return cache(blueprint_of(name, **(config or {})), Serving(**settings)).used


def test_every_head_its_own_keys() -> None:
    assert used("Llama-2-7B", context_len=1000) == 2 * 32 * 32 * 128 * 1000 * 2


def test_grouped_and_single_heads() -> None:
    assert used("Llama-3.1-8B", context_len=1000, batch_size=3) == 3 * 2 * 32 * 8 * 128 * 1000 * 2
    assert used("Gemma-2B", context_len=1000) == 2 * 18 * 1 * 256 * 1000 * 2


def test_a_narrow_cache() -> None:
    assert used("Llama-3.1-8B", kv_dtype="float8") == used("Llama-3.1-8B") / 2


def test_latent_attention_caches_its_latent_whole_on_every_device() -> None:
    assert used("DeepSeek-V3", context_len=1000) == 61 * (512 + 64) * 1000 * 2
    assert used("DeepSeek-V3", context_len=1000, tp=8) == used("DeepSeek-V3", context_len=1000)


def test_tensor_parallelism_divides_heads_down_to_one() -> None:
    one = used("Llama-3.1-8B")
    assert used("Llama-3.1-8B", tp=4) == one / 4
    assert used("Llama-3.1-8B", tp=16) == used("Llama-3.1-8B", tp=8) == one / 8


def test_sliding_windows_are_full_at_their_width_and_reserved_at_full_length() -> None:
    blueprint = blueprint_of("Gemma-2-9B", sliding_window=4096)
    held = cache(blueprint, Serving(context_len=8192))
    assert held.used == 2 * 8 * 256 * 2 * 21 * (8192 + 4096)
    assert held.reserved == 2 * 8 * 256 * 2 * 42 * 8192


def test_pages_are_whole() -> None:
    held = cache(blueprint_of("Llama-2-7B"), Serving(context_len=17))
    assert held.reserved / held.used == pytest.approx(32 / 17)


def test_state_space_layers_do_not_grow() -> None:
    assert used("Mamba-2.8B", context_len=10) == used("Mamba-2.8B", context_len=10**6) == 64 * 5120 * (4 * 16 + 2 * 4)
    attention, state = 4 * 2 * 8 * 128 * 2, 28 * 8192 * (4 * 16 + 2 * 4)
    assert used("Jamba-52B", context_len=1000) == attention * 1000 + state


def test_cross_attention_keeps_the_encoders_tokens() -> None:
    own = 2 * 32 * 20 * 64 * 2
    assert used("Whisper-large-v3", context_len=100) == own * (100 + 1500)
    assert used("T5-base", context_len=100) == 2 * 12 * 12 * 64 * 2 * (100 + 100)


def test_encoders_cache_nothing() -> None:
    assert used("BERT-base") == used("ViT-B/16") == 0


def test_the_cache_is_what_transformers_allocates() -> None:
    transformers: Any = pytest.importorskip(
        "transformers", reason="transformers is not installed: sync the group `hf`"
    )
    torch: Any = pytest.importorskip("torch", reason="torch is not installed: sync the group `torch`")
    config = transformers.LlamaConfig(**{**LLAMA, "bos_token_id": 1, "eos_token_id": 2})
    model = transformers.LlamaForCausalLM(config)
    out = model(input_ids=torch.ones(2, 30, dtype=torch.long), use_cache=True)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in out.past_key_values.layers)
    blueprint = families.read(LLAMA)
    assert blueprint is not None
    assert cache(blueprint, Serving(context_len=30, batch_size=2, kv_dtype="float32")).used == held


def test_the_longest_context_and_the_largest_batch_are_the_last_that_fit() -> None:
    blueprint = blueprint_of("Llama-3.1-8B")
    weights = logical(parameters.tensors(blueprint, "BF16"), {})
    how, limit = Serving(context_len=8192, batch_size=2), 24 * 2**30
    server = Server({}, weights, blueprint)
    far = server.reach(how, limit)
    for name, found in (("context_len", far.longest_context), ("batch_size", far.largest_batch)):
        assert found
        assert estimate_serving(weights, blueprint, how.replace(**{name: found})).expected <= limit
        assert estimate_serving(weights, blueprint, how.replace(**{name: found + 1})).expected > limit
    assert server.reach(how, 2**30).largest_batch == 0


def test_no_context_is_longer_than_what_the_model_can_do() -> None:
    blueprint = blueprint_of("Llama-3.1-8B", max_position_embeddings=8192)
    far = Server({}, logical(parameters.tensors(blueprint, "BF16"), {}), blueprint).reach(Serving(), 80 * 2**30)
    assert (far.longest_context, far.is_models) == (8192, True)


def test_packed_weights_are_what_their_format_makes_of_them() -> None:
    """nf4 by bitsandbytes unpacks a matrix at a time; GPTQ's kernels don't."""
    blueprint = blueprint_of("Llama-3.1-8B")
    weights = logical(parameters.tensors(blueprint, "BF16"), {})
    found = {name: estimate_serving(weights, blueprint, Serving(quantize=name)) for name in ("none", "nf4", "gptq4")}
    assert found["nf4"].weights == loaded_bytes(weights, "int4")
    assert found["gptq4"].weights < found["nf4"].weights < found["none"].weights / 2
    assert found["nf4"].working - found["gptq4"].working == 2 * 14336 * 4096
    assert found["gptq4"].working == found["none"].working
    assert estimate_serving(weights, blueprint, Serving(dtype="int4")) == found["nf4"]


def test_low_expected_and_high_are_in_order() -> None:
    for name in KNOWN:
        blueprint = blueprint_of(name)
        done = estimate_serving(logical(parameters.tensors(blueprint, "BF16"), {}), blueprint, Serving())
        assert done.low < done.expected < done.high


def test_high_reads_a_prompt_at_once_as_transformers_does() -> None:
    """A server reads 8,192 tokens at a time, so more of them change its cache alone."""
    blueprint = blueprint_of("Llama-3.1-8B")
    weights = logical(parameters.tensors(blueprint, "BF16"), {})
    short, long = (estimate_serving(weights, blueprint, Serving(context_len=n * 8192)) for n in (1, 4))
    cached, token = long.cache.used - short.cache.used, 2 * (3 * 4096 + 3 * 14336)
    assert long.expected - short.expected == pytest.approx(cached)
    assert long.high - short.high == pytest.approx(cached + 3 * 8192 * token)


def test_a_prompt_that_is_read_at_once() -> None:
    """generate has no answer in its cache while it reads; a server may have those of other sequences."""
    blueprint = blueprint_of("Llama-3.1-8B")
    weights = logical(parameters.tensors(blueprint, "BF16"), {})

    def needed(**settings: Any) -> float:
        done = estimate_serving(weights, blueprint, Serving(context_len=20_480, **settings))
        return done.expected - done.weights - done.cache.used

    token, cached = 2 * (3 * 4096 + 3 * 14336), 2 * 32 * 8 * 128 * 2
    logits = needed() - 8192 * token
    assert needed(max_new_tokens=2048) == needed()
    assert needed(prefill_chunk=512) == needed(max_new_tokens=20_480 - 512) == 512 * token + logits
    assert needed(prefill_chunk=0) == 20_480 * token + logits
    assert needed(prefill_chunk=0, max_new_tokens=2048) == 18_432 * token + logits - 2048 * cached
    assert needed(prefill_chunk=0, max_new_tokens=20_479) == token + logits


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefill_chunk": -1},
        {"max_new_tokens": 4096},
        {"max_new_tokens": -1},
        {"context_len": 0},
        {"batch_size": -1},
        {"kv_dtype": "float7"},
        {"tp": 0},
        {"quantize": "nf5"},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    blueprint = blueprint_of("Llama-3.1-8B")
    with pytest.raises(UsageError, match=f"--{next(iter(wrong))}"):
        estimate_serving((), blueprint, Serving(**wrong))
