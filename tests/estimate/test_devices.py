"""Devices as people type them: names, printed sizes, amounts, and several of them."""

from typing import Any

import pytest

from accel_estimate import EstimateError, Recipe, read_devices
from accel_estimate.devices import cards, runtime
from accel_estimate.devices.units import GIB


@pytest.mark.parametrize(
    ("text", "given"),
    [
        *(
            (name, 23.52)
            for name in ("rtx4090", "RTX 4090", "4090", "rtx-4090", "NVIDIA GeForce RTX 4090", "4090 24GB")
        ),
        *((name, 23.56) for name in ("3090", "rtx3090", "RTX_3090")),
        *((name, 79.10) for name in ("h100", "H100-80GB", "H100 SXM", "NVIDIA H100 80GB HBM3", "h100_pcie", "h100-80")),
        *((name, 79.14) for name in ("a100", "A100-80G", "a100 80gb", "A100-SXM4-80GB")),
        *((name, 39.39) for name in ("a100-40gb", "A100 40G", "a100-sxm4-40gb", "a100 40")),
        ("v100-16gb", 15.77), ("Tesla V100", 31.73), ("mi300x", 191.45), ("A10G", 21.98), ("a10", 22.05),
    ],
)  # fmt: skip
def test_a_card_has_many_names(text: str, given: float) -> None:
    found = read_devices(text)
    assert (found.limit, found.count, found.notes) == (round(given * GIB), 1, ())


@pytest.mark.parametrize("text", ["24", "24G", "24g", "24GB", " 24 GB "])
def test_a_printed_size_is_the_least_that_such_a_card_gives_and_a_note_says_so(text: str) -> None:
    found = read_devices(text)
    assert found.limit == round(21.98 * GIB)
    (note,) = found.notes
    assert "a card sold with 24 GB" in note
    assert "21.98 GiB (a10g) to 23.56 GiB (rtx3090); the least counts" in note
    assert read_devices("80GB").limit == round(79.10 * GIB)


def test_other_amounts_are_exact() -> None:
    assert read_devices("24GiB").limit == 24 * GIB
    assert read_devices("24000MB").limit == 24 * 10**9
    assert (read_devices("30GB").limit, read_devices("30GB").notes) == (30 * 10**9, ())
    assert "30 is read as 30GB" in read_devices("30").notes[0]


@pytest.mark.parametrize(
    ("text", "count", "per_machine"),
    [("8xh100", 8, 8), ("8 x H100", 8, 8), ("8*h100", 8, 8), ("2x8xh100-80gb", 16, 8), ("1xh100", 1, 1)],
)
def test_several_devices_and_machines(text: str, count: int, per_machine: int) -> None:
    found = read_devices(text)
    assert (found.count, found.per_machine, found.limit) == (count, per_machine, round(79.10 * GIB))
    assert read_devices("4x24G").limit == read_devices("24G").limit


@pytest.mark.parametrize("text", ["", "h1000", "0xh100", "h100-40gb", "8x", "3x2x8xh100", "3091", "x", "0", "0GiB"])
def test_what_is_no_device_is_refused(text: str) -> None:
    with pytest.raises(EstimateError, match="--fits"):
        read_devices(text)


def test_no_card_gives_more_than_its_box_and_every_name_finds_its_row() -> None:
    for card in cards.CARDS:
        assert 0.85 * card.sold * 10**9 < card.given * GIB <= card.sold * GIB * 1.01
        assert cards.named(card.name) is card
        assert cards.named(f"NVIDIA {card.name.upper()}") is card


def test_the_context_of_a_small_card_is_small() -> None:
    for name in ("t4", "RTX 3090", "A10G"):
        assert runtime.context(name) == runtime.SMALL
    for name in ("", "v100", "h100", "mi300x"):
        assert runtime.context(name) == runtime.CONTEXT
    assert read_devices("2xA10").card == "a10"
    assert not read_devices("24GiB").card


def test_a_type_that_a_device_does_not_compute_in_gets_a_note() -> None:
    def notes(device: str, **how: Any) -> tuple[str, ...]:
        return read_devices(device).without(Recipe(**how))

    assert notes("2xt4", mixed_precision="bf16") == (
        "2xt4 doesn't compute in bf16; use --mixed_precision fp16 there.",
    )
    assert "in bf16" in notes("t4", param_dtype="bfloat16")[0]
    assert "in fp8; use --mixed_precision fp16" in notes("t4", mixed_precision="fp8")[0]
    assert "in fp8; use --mixed_precision bf16" in notes("a100", mixed_precision="fp8")[0]
    for device, kind in (("h100", "fp8"), ("24GiB", "fp8"), ("a100", "bf16"), ("t4", "fp16")):
        assert notes(device, mixed_precision=kind) == ()
