"""Megatron-LM's parts, held to what its own sources say (megatron/training/theoretical_memory_usage.py, megatron/core)."""

from typing import Any

import pytest

from accel_estimate import Recipe
from accel_estimate.errors import UsageError
from accel_estimate.training.step import TrainingEstimate, estimate_training
from tests.estimate.test_training import N, parts


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
        ({"mixed_precision": "no", "num_processes": 4, "megatron": "distributed"}, 8 + 8 / 4),
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
    assert all_four.peak.why.endswith(", in the first of 4 stages")
    assert stage(4, 8).peak.parts == all_four.peak.parts
    assert one.peak.parts.activations < all_four.peak.parts.activations / 2
    assert step(loss="plain", batch_size=4, num_processes=8, pp=8, micro_batches=1).peak.why.endswith(
        "last of 8 stages"
    )
    assert "stages" not in step().peak.why


def test_it_has_an_optimizer_of_its_own() -> None:
    for settings in ({"zero_stage": 1}, {"fsdp": "full", "num_processes": 2}):
        with pytest.raises(UsageError, match="--megatron: has an optimizer of its own"):
            step(**settings)
