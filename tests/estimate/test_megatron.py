"""Megatron-LM's parts, held to what its own sources say (megatron/training/theoretical_memory_usage.py, megatron/core)."""

from typing import Any

import pytest

from accel_estimate import Recipe
from accel_estimate.errors import UsageError
from accel_estimate.training.device.stage import stages
from accel_estimate.training.step import TrainingEstimate, estimate_training
from tests.estimate.test_training import N, moments, parts


def step(**settings: Any) -> TrainingEstimate:
    chosen: dict[str, Any] = {"megatron": "whole", "mixed_precision": "bf16", "attention": "flash", **settings}
    return estimate_training(*parts(), Recipe(**chosen))


@pytest.mark.parametrize(
    ("settings", "each"),
    [
        ({}, 18),
        ({"num_processes": 8}, 18),
        ({"num_processes": 8, "megatron": "distributed"}, 6 + 12 / 8),
        ({"num_processes": 8, "tp": 2, "megatron": "distributed"}, (6 + 12 / 4) / 2),
        ({"mixed_precision": "no", "attention": "sdpa", "num_processes": 4, "megatron": "distributed"}, 8 + 8 / 4),
    ],
)
def test_bytes_of_a_parameter_are_those_of_its_own_count(settings: dict[str, Any], each: float) -> None:
    for moment in step(**settings).moments:
        it = moment.parts
        assert it.weights + it.gradients + it.optimizer == pytest.approx(each * N, rel=0.001), moment.name


def test_gathered_inputs_are_kept_in_parts_and_one_buffer_has_the_whole() -> None:
    usual = {"num_processes": 8, "tp": 8, "seq_len": 4096}
    alone, again = step(seq_len=4096).peak.parts, step(**usual).peak.parts
    assert again.activations == pytest.approx(alone.activations / 8, rel=0.05)
    assert again.communication == 2 * 4096 * 4096
    assert step(**usual, sequence_parallel=False).peak.parts.communication == 0


def test_the_first_stage_of_a_pipeline_has_the_most_micro_batches_and_is_named() -> None:
    def stage(pp: int, micro: int) -> TrainingEstimate:
        return step(seq_len=4096, num_processes=8, pp=pp, micro_batches=micro)

    one, all_four = stage(4, 1), stage(4, 4)
    assert all_four.peak.why.endswith(", in the first of 4 stages, which keeps 4 micro-batches")
    assert stage(4, 8).peak.parts == all_four.peak.parts
    assert one.peak.parts.activations < all_four.peak.parts.activations / 2
    assert step(loss="plain", batch_size=4, num_processes=8, pp=8, micro_batches=1).peak.why.endswith(
        "last of 8 stages, which keeps 1 micro-batches"
    )
    assert "stages" not in step().peak.why


@pytest.mark.parametrize(
    ("pp", "groups", "first", "last"), [(4, 2, 5.5, 2.5), (8, 4, 9.75, 6.25), (2, 8, 2.125, 1.875)]
)
def test_an_interleaved_schedule_keeps_more(pp: int, groups: int, first: float, last: float) -> None:
    """Its own penalty is 1 + (p - 1) / (p v) (megatron/training/theoretical_memory_usage.py)."""
    recipe = Recipe(megatron="whole", pp=pp, num_processes=pp, virtual_stages=groups, micro_batches=4 * pp)
    found = [stage.in_flight for stage in stages(*parts(), recipe)]
    assert found == [first, last] == [pp * (1 + (pp - 1) / (pp * groups)), pp - (pp - 1) / groups]
    assert [stage.in_flight for stage in stages(*parts(), recipe.replace(micro_batches=1))] == [1, 1]
    with pytest.raises(UsageError, match="--pp 8 --virtual_stages 8: the model has only 32 layers to divide by 64"):
        stages(*parts(), recipe.replace(pp=8, virtual_stages=8))
    with pytest.raises(UsageError, match="Megatron-LM needs as many layers for each of 3, of 32"):
        stages(*parts(), recipe.replace(pp=3, num_processes=3, virtual_stages=1))
    with pytest.raises(
        UsageError, match="--micro_batches: with --virtual_stages, Megatron-LM needs a multiple of --pp"
    ):
        moments(megatron="whole", pp=2, num_processes=2, virtual_stages=2, micro_batches=5)


def kept(**settings: Any) -> float:
    """Bytes of activations for each token and number of GPT-2's width, when all layers have run."""
    chosen: dict[str, Any] = {"megatron": "whole", "mixed_precision": "bf16", "loss": "fused", **settings}
    found = estimate_training(*parts("GPT-2"), Recipe(**chosen)).moments[1].parts.activations
    return found / (768 * Recipe.seq_len)


def test_core_attention_is_recomputed_and_leaves_34_bytes() -> None:
    """arXiv 2205.05198, table 2, without and with 5 a s / h of the scores; flash attention has none."""
    for attention in ("eager", "flash"):
        assert kept(attention=attention, gradient_checkpointing="selective") == pytest.approx(12 * 34, rel=0.015)
    assert kept(attention="eager") - kept(attention="flash") > 12 * 5 * 12 * 2048 / 768


def test_modules_are_recomputed_apart() -> None:
    def saved(*modules: str) -> float:
        usual: dict[str, Any] = {"attention": "flash", "gradient_checkpointing": "selective"}
        return (kept(**usual) - kept(**usual, recompute_modules=("core_attn", *modules))) / 12

    assert saved("layernorm") == pytest.approx(2 * 2)
    assert saved("mlp") == pytest.approx(2 * 2 * 4)  # the input and the result of GELU
    assert saved("layernorm", "mlp") == pytest.approx(2 * 2 + 2 * 2 * 4)
    with pytest.raises(UsageError, match="--recompute_modules: must be of core_attn, layernorm"):
        saved("norms")


@pytest.mark.parametrize("module", ["moe", "moe_act", "shared_experts", "mla_up_proj"])
def test_modules_of_experts_and_latents(module: str) -> None:
    usual: dict[str, Any] = {"megatron": "whole", "mixed_precision": "bf16", "gradient_checkpointing": "selective"}
    weights, blueprint = parts("DeepSeek-V3")
    found = [
        estimate_training(weights, blueprint, Recipe(**usual, recompute_modules=modules)).moments[1].parts.activations
        for modules in (("core_attn",), ("core_attn", module))
    ]
    freed = {  # numbers of a token: 8 of 256 experts of width 2048, 58 of 61 layers have them, and 128 heads
        "moe": 58 * (8 * (3 * 2048 + 2 * 7168) + 3 * 2048),
        "moe_act": 58 * 8 * 2048,
        "shared_experts": 58 * 3 * 2048,
        "mla_up_proj": 61 * 128 * (192 + 192 + 128),
    }[module]
    assert (found[0] - found[1]) / (2 * 2048 * freed) == pytest.approx(1, rel=0.3)


def test_whole_layers_are_recomputed_in_units_or_the_first_of_a_group() -> None:
    def full(**settings: Any) -> float:
        return kept(attention="flash", gradient_checkpointing="full", **settings)

    assert full() - full(recompute_num_layers=5) == pytest.approx(2 * (12 - 3))  # units of 5, 5 and 2 layers
    half, none = full(recompute_method="block", recompute_num_layers=6), kept(attention="flash")
    assert half == pytest.approx((full() + none) / 2)
    assert full(recompute_method="block", recompute_num_layers=99) == full()
    halves: dict[str, Any] = {"pp": 2, "num_processes": 2, "virtual_stages": 2, "micro_batches": 8}
    assert full(recompute_method="block", recompute_num_layers=3, **halves) == pytest.approx(full(**halves))
    unit = [
        step(seq_len=4096, loss="fused", gradient_checkpointing="full", recompute_num_layers=layers).peak.parts
        for layers in (1, 2)
    ]
    whole = step(seq_len=4096, loss="fused").peak.parts.activations / 32
    freed = 16 * 2 * 4096 * 4096  # the inputs of every second layer
    assert unit[1].activations - unit[0].activations + freed == pytest.approx(whole, rel=0.02)


def test_it_has_an_optimizer_of_its_own() -> None:
    for settings in ({"zero_stage": 1}, {"fsdp": "full", "num_processes": 2}):
        with pytest.raises(UsageError, match="--megatron: has an optimizer of its own"):
            step(**settings)
