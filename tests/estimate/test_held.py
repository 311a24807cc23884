"""The formulas, held to steps that torch itself ran: a table that benchmarks/trace_table.py recorded."""

import re
from pathlib import Path
from statistics import median

import pytest

from accel_estimate.model import families
from tests.estimate.conftest import ROOT
from tests.estimate.held import APART, DRAWN, Point, apart, points, report, tables
from tests.estimate.test_docs import current

PAGE = ROOT / "docs" / "estimate-accuracy.md"


@pytest.fixture(scope="module")
def found() -> list[Point]:
    return list(points())


@pytest.fixture(scope="module")
def others() -> list[Point]:
    return list(points(APART))


def test_expected_is_what_torch_allocates(found: list[Point]) -> None:
    errors = sorted(abs(point.error) for point in found)
    assert len(errors) >= 500
    assert errors[len(errors) // 2] <= 0.001, report(found)
    assert errors[int(0.95 * len(errors))] <= 0.01, report(found)
    assert errors[-1] <= 0.05, report(found)


def test_points_that_no_formula_was_shaped_on_are_near_too(others: list[Point]) -> None:
    errors = sorted(abs(point.error) for point in others)
    assert len(errors) >= 40
    assert errors[len(errors) // 2] <= 0.001, report(others)
    assert errors[int(0.85 * len(errors))] <= 0.01, report(others)
    assert errors[-1] <= 0.11, report(others)


def test_points_that_were_drawn_before_are_near() -> None:
    drawn = list(points(DRAWN))
    errors = sorted(abs(point.error) for point in drawn)
    assert len(errors) >= 92
    assert errors[int(0.85 * len(errors))] <= 0.01, report(drawn)
    assert errors[-1] <= 0.025, report(drawn)


def test_expected_is_what_the_model_of_the_allocator_reserves(found: list[Point], others: list[Point]) -> None:
    """Single devices: 12.5 % of allocated, whatever the recipe is, would be 4.7 % off in the median; under FSDP 17.5 %."""
    expandable = list(points(expandable_segments=True))
    for points_, segments, fsdp, most in (
        (found, 0, False, 0.035),
        (found, 0, True, 0.065),
        (others, 0, False, 0.045),
        (expandable, 1, False, 0.02),
        (expandable, 1, True, 0.045),
    ):
        errors = [
            abs(point.formula.reserved[1] / point.traced["reserved"][segments] - 1)
            for point in points_
            if point.recipe.startswith("fsdp") == fsdp
        ]
        assert median(errors) <= most


def test_every_family_is_there(found: list[Point]) -> None:
    there = {point.model.partition(",")[0] for point in found}
    others = {"gemma3": "gemma3_text", "kimi_k2": "deepseek_v3"}  # read as these are
    assert there | others.keys() == families.FAMILIES.keys()


def test_state_spaces_are_as_near_as_the_others(found: list[Point]) -> None:
    errors = sorted(abs(point.error) for point in found if point.model in ("mamba", "falcon_mamba", "jamba"))
    assert len(errors) >= 40
    assert errors[len(errors) // 2] <= 0.001
    assert errors[-1] <= 0.01, report(found)


def test_the_page_shows_the_tables(found: list[Point], others: list[Point]) -> None:
    text = PAGE.read_text()
    for marker, shown in (("the tables", tables(found)), ("the points held apart", apart(others))):
        text, times = re.subn(
            rf"(<!-- {marker}: [^\n]*-->\n).*?(?=\n## |\Z)",
            lambda it, shown=shown: f"{it[1]}\n{shown}",
            text,
            flags=re.DOTALL,
        )
        assert times == 1
    current(Path(PAGE), text)
