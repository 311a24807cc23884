"""What libraries and their versions change: bitsandbytes, transformers, GPTQ's kernels, LitGPT, FSDP 1."""

import json
from pathlib import Path
from typing import Any

import pytest

from accel_estimate import Recipe
from accel_estimate.errors import UsageError
from accel_estimate.model import families
from accel_estimate.model.blueprint import Experts
from accel_estimate.model.sizes import QUANTIZATIONS
from accel_estimate.training import litgpt
from accel_estimate.training.activations.compute import Compute
from accel_estimate.training.activations.layers import layer
from accel_estimate.training.step import estimate_training
from accel_estimate.training.versions import numbers
from tests.conftest import Run, needs_torch
from tests.estimate.test_training import STEP, moments, parts

FORWARD, LOSS, BACKWARD = (
    "end of the forward pass",
    "begin of the backward pass, in the loss",
    "begin of the backward pass, in the last layer",
)
PACKED: dict[str, Any] = {
    "param_dtype": "bfloat16", "lora_rank": 8, "lora_dtype": "bfloat16", "seq_len": 100, "outputs": "freed",
}  # fmt: skip
HIDDEN, INNER, LAYERS, VOCAB = 4096, 14336, 32, 128256


def kept(at: str = FORWARD, **settings: Any) -> float:
    return moments(**{**PACKED, "quantize": "nf4", **settings})[at].parts.activations


def test_four_bit_products_keep_their_inputs_in_old_versions_and_eight_bit_ones_in_all() -> None:
    frozen: dict[str, Any] = {"lora_targets": ("v_proj",)}  # whose own input all versions keep
    inputs = 2 * 100 * LAYERS * (3 * HIDDEN + INNER - 2 * HIDDEN)  # attention's result is its own
    assert kept(**frozen, bitsandbytes="0.43.1") - kept(**frozen) == inputs
    assert kept(**frozen, bitsandbytes="0.43.2") == kept(**frozen)
    assert kept(**frozen, quantize="int8") == kept(**frozen, bitsandbytes="0.41")


def test_what_is_kept_beside_saved_tensors_lasts_until_the_next_pass_has_its_loss() -> None:
    """Unless nothing holds the pass's graph: neither the script, nor a checkpointed layer."""
    old: dict[str, Any] = {"bitsandbytes": "0.42", "loss": "fused"}
    inputs = 2 * 100 * LAYERS * (3 * HIDDEN + INNER)
    assert kept(**old, outputs="kept") - kept(**old) == inputs
    assert kept(LOSS, **old, outputs="kept") == kept(LOSS, **old)
    assert kept(**old, outputs="kept", lengths="varied") == kept(**old)
    full: dict[str, Any] = {**old, "gradient_checkpointing": "full"}
    assert kept(**full, outputs="kept") == kept(**full)
    assert kept(loss="fused", outputs="kept") == kept(loss="fused")


@pytest.mark.parametrize(
    ("version", "one", "several", "output"),
    [("4.45.2", 8, 12, 4), ("4.48.1", 10, 14, 2), ("4.49", 10, 10, 2), ("5.0", 10, 10, 2)],
)
def test_the_loss_and_the_output_of_a_version(version: str, one: int, several: int, output: int) -> None:
    settings: dict[str, Any] = {"param_dtype": "bfloat16", "seq_len": 100, "transformers": version}
    single, pair = (moments(**settings, batch_size=number) for number in (1, 2))
    assert single[FORWARD].parts.logits == one * 100 * VOCAB
    assert pair[FORWARD].parts.logits == several * 200 * VOCAB
    assert single[LOSS].parts.logits == (12 + output) * 100 * VOCAB
    assert single[BACKWARD].parts.logits == output * 100 * VOCAB
    freed = moments(**settings, outputs="freed")
    assert (freed[LOSS].parts.logits, freed[BACKWARD].parts.logits) == (12 * 100 * VOCAB, 0)


def _same(tensor: Any) -> Any:
    return tensor


@pytest.mark.parametrize("trained", [False, True])
def test_experts_that_run_one_by_one(trained: bool) -> None:
    """As torch saves it of a loop over experts; beside that there are indices, 36 bytes for each expert and token."""
    torch: Any = pytest.importorskip("torch", reason="torch is not installed: sync the group `torch`")
    hidden, inner, number, active, tokens = 64, 224, 8, 2, 256
    torch.manual_seed(0)
    linear = torch.nn.Linear
    router = linear(hidden, number, bias=False)
    experts = [[linear(hidden, inner), linear(hidden, inner), linear(inner, hidden)] for _ in range(number)]
    model = torch.nn.ModuleList([router, *map(torch.nn.ModuleList, experts)]).to(torch.bfloat16)
    model.requires_grad_(trained)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.is_floating_point():
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = torch.randn(tokens, hidden, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, _same):
        weights, chosen = router(x).softmax(-1, dtype=torch.float32).topk(active, dim=-1)
        weights, result = weights.to(x.dtype), torch.zeros_like(x)
        for expert, (gate, up, down) in enumerate(experts):
            at, which = torch.where(chosen == expert)
            mine = x[at]
            mine = down(torch.nn.functional.silu(gate(mine)) * up(mine)) * weights[at, which, None]
            result = result.index_add(0, at, mine)
    _, mixtral = parts("Mixtral-8x7B")
    it = mixtral.decoder.layers[0].replace(attention=None, norms=0, experts=Experts(number, active, inner))
    how = Compute(2, 2, trained=trained, grouped=False)
    assert layer(it, hidden, tokens, how).whole == pytest.approx(sum(saved.values()) / tokens, abs=number * 36)


def test_experts_one_by_one_take_less_at_once() -> None:
    settings: dict[str, Any] = {**PACKED, "seq_len": 4096, "gradient_checkpointing": "full", "loss": "fused",
                                "lora_targets": ("q_proj", "v_proj")}  # fmt: skip
    together, apart = (
        moments("Mixtral-8x7B", **settings, transformers=version)[BACKWARD].parts.activations
        for version in ("5.0", "4.57")
    )
    assert together - apart > 2 * 4096 * INNER  # the gradients of two experts' inner vectors, and copies


def test_a_kernel_of_gptq_unpacks_one_matrix_at_a_time() -> None:
    torch, triton = (kept(BACKWARD, quantize="gptq4", gptq_kernel=kernel) for kernel in ("torch", "triton"))
    block = 2 * HIDDEN + HIDDEN * (2 * HIDDEN + 2 * 1024 + 3 * INNER)
    assert torch - triton == 2 * block + 6 * HIDDEN * INNER


LITGPT: dict[str, Any] = {**PACKED, "framework": "litgpt", "loss": "fused"}


FROZEN: dict[str, Any] = {
    **PACKED, "gradient_checkpointing": "full", "fsdp": "full", "num_processes": 2, "loss": "fused",
    "batch_size": 64,
}  # fmt: skip
END = "end of the backward pass"


def test_fsdp_1_holds_the_inputs_of_frozen_layers_and_their_gradients_in_reentrant_checkpointing() -> None:
    """Where none of that is, a setting of the four is another."""
    usual = kept(END, **FROZEN)
    inputs = 2 * 64 * 100 * HIDDEN * (LAYERS - 1)
    old: dict[str, Any] = {"fsdp_version": 1, "transformers": "4.57"}
    assert kept(END, **FROZEN, **old) - usual == 2 * inputs
    assert kept(END, **FROZEN, fsdp_version=1, use_reentrant="true") - usual == 2 * inputs
    assert kept(END, **FROZEN, **old, use_reentrant="false") == kept(END, **FROZEN, fsdp_version=1) == usual
    assert kept(END, **FROZEN, transformers="4.57") == usual
    whole: dict[str, Any] = {**FROZEN, "lora_rank": 0, "quantize": "none"}
    assert kept(END, **whole, **old) == kept(END, **whole)


@needs_torch
@pytest.mark.exhaustive
def test_so_does_torch(accelerate: Run) -> None:
    script = Path(__file__).parent / "scripts" / "frozen_layers.py"
    done = accelerate("launch", "-q", "--cpu", "--num_processes", "2", script, timeout=150)
    assert done.returncode == 0, done.stderr
    once, twice = json.loads(done.stdout)
    assert once == pytest.approx(1, abs=0.1)
    assert twice == pytest.approx(2, abs=0.1)


def test_litgpt_has_adapters_of_its_own_names() -> None:
    weights, blueprint = parts()

    def trained(*names: str, **settings: Any) -> float:
        recipe = Recipe(**{**LITGPT, **settings}, lora_targets=names)
        return estimate_training(weights, blueprint, recipe).trainable

    queries, values = HIDDEN + HIDDEN, HIDDEN + 1024
    assert trained() == trained("query", "value") == LAYERS * 8 * (queries + values)
    assert trained("projection") == LAYERS * 8 * 2 * HIDDEN
    assert trained("mlp", "head") == 8 * (LAYERS * 3 * (HIDDEN + INNER) + HIDDEN + VOCAB)
    with pytest.raises(UsageError, match="--lora_targets: LitGPT adapts query, key"):
        trained("q_proj")


def test_adapters_of_a_part_of_the_queries_keys_and_values_keep_what_is_padded() -> None:
    some, every = (kept(**LITGPT, quantize="none", lora_targets=names)
                   for names in (("query", "value"), ("query", "key", "value")))  # fmt: skip
    assert some - every == 2 * 100 * LAYERS * (HIDDEN + 1024)
    assert "saved" in _of_index_copy()


def _of_index_copy() -> str:
    """Whether autograd keeps what `index_copy` puts somewhere."""
    torch: Any = pytest.importorskip("torch", reason="torch is not installed: sync the group `torch`")
    source = torch.randn(3, 4, requires_grad=True) * 2
    padded = torch.zeros(3, 8).index_copy(1, torch.arange(4), source)
    same = padded.grad_fn._saved_source.data_ptr() == source.data_ptr()
    return "saved" if same else "freed"


def test_litgpt_repeats_keys_in_copies_and_has_every_gelu_as_one_kernel() -> None:
    usual: dict[str, Any] = {**PACKED, "quantize": "none", "lora_dropout": 0.1}
    names = ("query", "key", "value", "projection", "mlp")
    repeated = 2 * 2 * (HIDDEN - 1024)  # copies, which leave nothing of the product alive
    dropped = 2 * 3 * HIDDEN  # q, k and v have one copy behind dropout, with its mask, instead of three
    more = kept(**usual, framework="litgpt", loss="fused", lora_targets=names) - kept(**usual, loss="fused")
    assert more == 100 * LAYERS * (repeated - dropped)
    phi = families.read({"model_type": "phi", "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 1,
                         "num_attention_heads": 4, "vocab_size": 100})  # fmt: skip
    assert phi is not None
    eager, one = (
        layer(blueprint.decoder.layers[0].replace(attention=None), 64, 10, Compute(2, 2)).whole
        for blueprint in (phi, litgpt.written(phi, Recipe(framework="litgpt")))
    )
    assert eager - one == 3 * 2 * 256


def test_litgpt_never_ties_the_head() -> None:
    """So there is one more matrix, and no two gradients to add up in a third tensor."""
    head = 2048 * VOCAB
    for settings, trained in ({"lora_rank": 8}, 0), ({}, head):
        usual, lit = (moments("Llama-3.2-1B", **settings, framework=name) for name in ("transformers", "litgpt"))
        assert lit[STEP].parts.weights - usual[STEP].parts.weights == pytest.approx(4 * head, rel=0.02)
        assert lit[STEP].parts.gradients - usual[STEP].parts.gradients == pytest.approx(4 * trained, abs=2**25)
    end = "end of the backward pass"
    usual, lit = (moments("Llama-3.2-1B", seq_len=64, framework=name) for name in ("transformers", "litgpt"))
    assert lit[end].parts.gradients <= lit[STEP].parts.gradients
    assert usual[end].parts.gradients > usual[STEP].parts.gradients


def test_litgpt_packs_the_head_too_and_unpacks_it_twice_as_wide() -> None:
    usual, lit = (moments(**{**PACKED, "quantize": "nf4", "loss": "chunked"}, **settings)
                  for settings in ({"optimizer": "paged_adamw"}, {"framework": "litgpt"}))  # fmt: skip
    bits = QUANTIZATIONS["nf4"].bits / 8 + 4 / 64
    adapters = lit[LOSS].parts.weights - usual[LOSS].parts.weights + (2 - bits) * HIDDEN * VOCAB
    assert abs(adapters) < 2 * 8 * LAYERS * 2**17  # fewer matrices have adapters
    assert lit[LOSS].parts.optimizer == usual[LOSS].parts.optimizer == 0
    assert lit[LOSS].parts.activations > 4 * HIDDEN * VOCAB
    assert lit[FORWARD].parts.activations > 4 * HIDDEN * VOCAB


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("4.45.0.dev0", (4, 45, 0)),
        ("v5.0.0rc1", (5, 0, 0)),
        ("0.43.1+cu121", (0, 43, 1)),
        ("5", (5, 0, 0)),
        ("5.", ()),
        ("", ()),
    ],
)
def test_a_version_is_read_as_libraries_print_theirs(text: str, read: tuple[int, ...]) -> None:
    assert numbers(text) == read


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bitsandbytes": "new"}, "--bitsandbytes: must be a version"),
        ({"transformers": "4.x"}, "--transformers: must be a version"),
        ({"transformers": "5.0rcx"}, "--transformers: must be a version"),
        ({"fsdp_version": 3}, "--fsdp_version: must be 1 or 2"),
        ({"framework": "litgpt", "zero_stage": 2}, "--framework litgpt"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        moments(**wrong)
