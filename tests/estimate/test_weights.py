"""Packed parameters, groups that stay together, and the table of sizes."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from accel_estimate.devices import units
from accel_estimate.formats.tensors import Group, Listing, Tensor, component, gather
from accel_estimate.model import families, parameters
from accel_estimate.model.sizes import loaded_bytes, rows
from accel_estimate.model.weights import Weight, groups, largest, logical, stored_packing
from tests.conftest import Run
from tests.estimate.conftest import LLAMA


def _t(name: str, dtype: str, *shape: int, width: int = 2) -> Tensor:
    size = width
    for dimension in shape:
        size *= dimension
    return Tensor(name, dtype, shape, size)


def _count(tensors: list[Tensor], **config: object) -> int:
    return sum(weight.parameters for weight in logical(tensors, config))


BLOCK = "model.layers.0.self_attn.q_proj"


def test_bitsandbytes_four_bits() -> None:
    tensors = [_t(f"{BLOCK}.weight", "U8", 2048, 1, width=1), _t(f"{BLOCK}.weight.absmax", "F32", 64, width=4),
               _t(f"{BLOCK}.weight.quant_map", "F32", 16, width=4),
               _t(f"{BLOCK}.weight.quant_state.bitsandbytes__nf4", "U8", 90, width=1), _t("norm.weight", "BF16", 64)]  # fmt: skip
    assert _count(tensors) == 4096 + 64


def test_bitsandbytes_eight_bits() -> None:
    assert _count([_t(f"{BLOCK}.weight", "I8", 64, 64, width=1), _t(f"{BLOCK}.SCB", "F32", 64, width=4)]) == 4096


def test_gptq_and_awq() -> None:
    tensors = [_t(f"{BLOCK}.qweight", "I32", 8, 64, width=4), _t(f"{BLOCK}.qzeros", "I32", 1, 8, width=4),
               _t(f"{BLOCK}.scales", "F16", 1, 64), _t(f"{BLOCK}.g_idx", "I32", 64, width=4)]  # fmt: skip
    assert _count(tensors) == 8 * 64 * 8
    assert _count(tensors, quantization_config={"bits": 8}) == 8 * 64 * 4


def test_compressed_tensors() -> None:
    tensors = [_t(f"{BLOCK}.weight_packed", "I32", 64, 8, width=4), _t(f"{BLOCK}.weight_scale", "BF16", 64, 1),
               _t(f"{BLOCK}.weight_shape", "I64", 2, width=8)]  # fmt: skip
    config = {"config_groups": {"group_0": {"weights": {"num_bits": 4}}}}
    assert _count(tensors, quantization_config=config) == 64 * 8 * 8


def test_fp8_with_scales_and_mxfp4() -> None:
    assert (
        _count(
            [_t(f"{BLOCK}.weight", "F8_E4M3", 64, 64, width=1), _t(f"{BLOCK}.weight_scale_inv", "F32", 1, 1, width=4)]
        )
        == 4096
    )
    experts = "model.layers.0.mlp.experts.gate_up_proj"
    tensors = [_t(f"{experts}_blocks", "U8", 4, 64, 2, 16, width=1), _t(f"{experts}_scales", "U8", 4, 64, 2, width=1)]
    assert _count(tensors) == 4 * 64 * 64


@pytest.mark.parametrize(
    ("settings", "packing"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "nf4"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}, "nf4-dq"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, "int8"),
        ({"load_in_4bit": True}, "nf4"),
        ({"quant_method": "gptq", "bits": 4}, "gptq4"),
        ({"quant_method": "gptq", "bits": 8}, ""),
        ({"quant_method": "fp8"}, ""),
        ({}, ""),
    ],
)
def test_how_a_checkpoint_is_packed(settings: dict[str, object], packing: str) -> None:
    assert stored_packing({"quantization_config": settings}) == packing
    assert stored_packing({}) == stored_packing({"quantization_config": 5}) == ""


def test_positions_are_bytes_but_no_parameters() -> None:
    weights = logical([_t("embeddings.position_ids", "I64", 1, 512, width=8)], {})
    assert weights[0].parameters == 0
    assert loaded_bytes(weights, "float16") == 4096


def _layers() -> tuple[Weight, ...]:
    return logical([_t("model.embed_tokens.weight", "BF16", 100, 64), _t(f"{BLOCK}.weight", "BF16", 64, 64),
                    _t(f"{BLOCK}.bias", "BF16", 64), _t("model.layers.1.mlp.up_proj.weight", "BF16", 128, 64),
                    _t("model.layers.1.input_layernorm.weight", "BF16", 64), _t("lm_head.weight", "BF16", 100, 64)], {})  # fmt: skip


def test_blocks_stay_together() -> None:
    found = groups(_layers(), {}, None)
    assert list(found) == ["model.embed_tokens", "model.layers.0", "model.layers.1", "lm_head"]
    assert largest(found) == Group("model.layers.1", (128 * 64 + 64) * 2)


def test_bert_keeps_its_embeddings_together_and_timm_keeps_nothing() -> None:
    bert = logical(
        [
            _t(f"bert.embeddings.{n}.weight", "F32", 10, 8, width=4)
            for n in ("word_embeddings", "position_embeddings")
        ],
        {},
    )
    assert list(groups(bert, {"model_type": "bert"}, None)) == ["bert.embeddings"]
    resnet = logical(
        [
            _t("layer4.0.conv1.weight", "F32", 8, 8, 3, 3, width=4),
            _t("layer4.0.conv2.weight", "F32", 8, 8, 3, 3, width=4),
        ],
        {},
    )
    assert list(groups(resnet, {}, "timm")) == ["layer4.0.conv1", "layer4.0.conv2"]


def test_only_matrices_of_blocks_are_packed() -> None:
    weights = _layers()
    packed, rest = 64 * 64 + 128 * 64, 2 * 100 * 64 + 64 + 64
    assert [weight.name for weight in weights if weight.linear] == [
        f"{BLOCK}.weight",
        "model.layers.1.mlp.up_proj.weight",
    ]
    assert loaded_bytes(weights, "int8") == packed + 4 * (64 + 128) + 2 * rest
    assert loaded_bytes(weights, "int4") == packed * 4.5 / 8 + 2 * rest
    assert loaded_bytes(weights, "float32") == 4 * (packed + rest)


def test_the_table_trains_with_sixteen_bytes_a_parameter() -> None:
    weights = _layers()
    table = {row.dtype: row for row in rows(weights, groups(weights, {}, None), ("float32", "float16", "int4"))}
    parameters = sum(weight.parameters for weight in weights)
    assert table["float32"].training_adam_bytes == table["float16"].training_adam_bytes == 16 * parameters
    assert table["int4"].training_adam_bytes is None


def _experts(*names: str, shape: tuple[int, ...] = (8, 4)) -> Listing:
    return Listing.of([Tensor(name, "F16", shape, 2 * shape[0] * shape[1]) for name in names])


def test_equal_experts_of_a_block_are_one_tensor() -> None:
    names = [f"model.layers.{layer}.mlp.experts.{n}.{m}.weight" for layer in (0, 11) for n in range(16) for m in "ab"]
    found, repeats = gather([_experts(*names[:40]), _experts(*names[40:])])
    assert (repeats, [tensor.copies for tensor in found]) == (0, [16] * 4)
    assert found[0] == Tensor("model.layers.0.mlp.experts.*.a.weight", "F16", (8, 4), 16 * 64, 16)
    assert found[0].elements == 16 * 32
    assert found[2].block == "model.layers.11"


def test_experts_that_differ_are_told_apart() -> None:
    names = [f"layers.0.experts.{n}.w" for n in range(4)]
    found, _ = gather([_experts(*names[:3]), _experts(*names[3:], shape=(2, 2))])
    assert [(tensor.shape, tensor.copies) for tensor in found] == [((8, 4), 3), ((2, 2), 1)]


@pytest.mark.parametrize(
    "names",
    [("experts.0.w", "experts.1.w"), ("experts.0.layers.2.w", "experts.1.layers.2.w"), ("a.0.experts.0", "a.0.experts.1"),
     ("a.0.experts.1234567890.w", "a.0.experts.1234567891.w"), ("a.0.experts.1.w\nx", "a.0.experts.2.w\nx")],
)  # fmt: skip
def test_a_star_never_hides_a_block_or_a_name(names: tuple[str, ...]) -> None:
    found, _ = gather([_experts(*names)])
    assert [tensor.name for tensor in found] == list(names)


def test_a_star_is_the_same_whatever_stands_beside_it() -> None:
    odd = ("experts.0.w", "a.0.experts.1.w\nx", "a*b")
    found, repeats = gather([_experts("a.0.experts.1.w", *odd), _experts("a.0.experts.1.w", shape=(2, 2))])
    assert (repeats, [tensor.name for tensor in found]) == (1, ["a.0.experts.*.w", *odd])


def test_an_expert_in_two_files_counts_once() -> None:
    names = [f"layers.0.experts.{n}.w" for n in range(6)]
    found, repeats = gather([_experts(*names[:4]), _experts(*names[2:])])
    assert (repeats, [(tensor.copies, tensor.nbytes) for tensor in found]) == (2, [(6, 6 * 64)])


def test_files_that_share_a_layer_are_told_apart_by_what_they_say() -> None:
    """Without going through their tensors, but where it isn't certain."""
    asked: list[str] = []

    def listing(numbers: str, dtype: str, *, known: bool = True) -> Listing:
        def each() -> list[Tensor]:
            asked.append(numbers)
            return [Tensor(f"a.0.experts.{n}.w", dtype, (2,), 2) for n in numbers]

        kind = Tensor("a.0.experts.*.w", dtype, (2,), 2).times(len(numbers))
        return Listing([kind], each, [hash((n, dtype)) for n in numbers] if known else ())

    def gathered(*listings: Listing) -> tuple[int, dict[str, int]]:
        found, repeats = gather(listings)
        return repeats, {tensor.dtype: tensor.copies for tensor in found}

    first = listing("01", "F8")
    assert gathered(first, listing("23", "F8")) == (0, {"F8": 4})
    assert asked == []
    assert gathered(first, listing("12", "F8")) == (1, {"F8": 3})
    assert asked == ["01", "12"]
    assert gathered(first, listing("12", "F4")) == (1, {"F8": 2, "F4": 1})
    assert gathered(first, listing("23", "F8", known=False)) == (0, {"F8": 4})
    assert asked == ["01", "12"] * 2 + ["01", "23"]
    # What is mixed in one file alone is in no other.
    both = Listing([*first.kinds, *listing("23", "F4").kinds], first.each)
    assert gathered(both) == (0, {"F8": 2, "F4": 2})
    assert asked[6:] == []


def test_experts_stand_alone_where_every_module_does() -> None:
    found, _ = gather([_experts(*(f"layers.0.experts.{n}.{m}.weight" for n in range(6) for m in "ab"))])
    apart = groups(logical(found, {}), {}, "timm")
    assert list(apart)[:2] == ["layers.0.experts.0.a", "layers.0.experts.1.a"]
    assert (len(apart), largest(apart).nbytes) == (12, 64)
    assert largest(groups(logical(found, {}), {}, None)) == Group("layers.0", 12 * 64)


def test_components() -> None:
    assert component("unet/down.0.weight") == "unet"
    assert component("model.layers.0.w") == "model.layers"
    assert component("vision_tower.encoder.w") == "vision_tower"


def test_units_never_read_1024() -> None:
    assert units.spell(1023) == "1023 bytes"
    assert units.spell(1023.7) == "1.00 KiB"
    assert units.spell(1024**2 - 1) == "1.00 MiB"
    assert units.spell(1024**3 - 1) == "1.00 GiB"
    assert units.spell(1536) == "1.50 KiB"
    assert units.spell(-(2**31)) == "-2.00 GiB"
    for exponent in range(1, 7):
        for delta in range(-3000, 3000, 7):
            assert "1024.00" not in units.spell(1024**exponent + delta)


def test_binary_and_decimal_units_are_told_apart() -> None:
    assert units.parse("24GiB") == 24 * 2**30
    assert units.parse(" 80 gb ") == 80 * 10**9
    assert units.parse("1.5TiB") == 1.5 * 2**40


def test_tensors_without_numbers_are_no_model(run: Run, llama: Path, write: Callable[..., Path]) -> None:
    blueprint = families.read(LLAMA)
    assert blueprint is not None
    shapes = {tensor.name: tensor.shape for tensor in parameters.tensors(blueprint)}
    partitioned = {name: ("F32", (0,) if len(shape) > 1 else shape) for name, shape in shapes.items()}
    (llama / "model.safetensors").unlink()
    (llama / "config.json").write_text(json.dumps({**LLAMA, "hidden_size": 0}))
    for folder, told in (
        (
            write("partitioned", partitioned, LLAMA),
            "23 of the 30 tensors in its safetensors hold no numbers, such as .*zero_to_fp32",
        ),
        (llama, r"30 of the 30 tensors in its config\.json hold no numbers, such as model\.embed_tokens\.weight"),
    ):
        for flags in ([], ["--training"], ["--serving"]):
            done = run(str(folder), *flags)
            assert done.returncode == 1
            assert re.search(told, done.stderr), done.stderr
            assert done.stderr.count("\n") == 1


def test_empty_layers_among_others_divide_nothing(run: Run, write: Callable[..., Path]) -> None:
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {f"model.more.{n}": ("F32", (8, 8)) for n in "abcd"}
    for index in range(2):
        tensors[f"model.layers.{index}.mlp.up_proj.weight"] = ("F32", (0,))
    assert run(str(write("empty layers", tensors, LLAMA)), "--training").returncode == 0
