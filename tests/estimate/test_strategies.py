"""Strategies side by side: each is what its recipe estimates, on the devices that were named."""

from pathlib import Path

import pytest

from accel_estimate import Ask, EstimateError, Recipe, estimate, load, strategies


def test_each_is_what_its_recipe_estimates(llama: Path) -> None:
    model = load(str(llama))
    found = strategies(model, "2x8xh100", Recipe(mixed_precision="bf16", batch_size=3))
    assert [it.name for it in found] == [
        "ddp", "fsdp2", "hsdp", "fsdp2-offload", "zero2", "zero3", "zero3-offload",
        "qlora-fsdp", "qlora-fsdp-offload",
    ]  # fmt: skip
    for it in found:
        assert (it.recipe.num_processes, it.recipe.processes_per_machine, it.recipe.batch_size) == (16, 8, 3)
        training = estimate(model, Ask(training=it.recipe)).training
        assert training is not None
        assert (it.low, it.expected, it.high) == (training.low, training.expected, training.high)
        assert it.fits
        assert (it.host > 0) == (it.recipe.offload_param_device == "cpu")


def test_one_device_spreads_nothing_and_one_machine_has_no_hybrid(llama: Path) -> None:
    model = load(str(llama))
    alone = [it.name for it in strategies(model, "3090")]
    assert alone == ["single", "fsdp2-offload", "zero3-offload", "qlora-fsdp-offload"]
    names = [it.name for it in strategies(model, "8xh100", Recipe(zero_stage=2))]
    assert "hsdp" not in names
    assert names[0] == "ddp"
    assert not any(it.fits for it in strategies(model, "1MiB"))


def test_adapters_stay_and_packed_ones_have_a_rank(llama: Path) -> None:
    found = {it.name: it.recipe for it in strategies(load(str(llama)), "2xh100", Recipe(lora_rank=4))}
    assert {recipe.lora_rank for recipe in found.values()} == {4}
    alone = {it.name: it.recipe for it in strategies(load(str(llama)), "2xh100")}
    assert (alone["qlora-fsdp"].quantize, alone["qlora-fsdp"].lora_rank, alone["ddp"].lora_rank) == ("nf4", 16, 0)


def test_devices_that_nobody_knows_are_refused(llama: Path) -> None:
    with pytest.raises(EstimateError, match="neither an amount"):
        strategies(load(str(llama)), "8xnothing")
