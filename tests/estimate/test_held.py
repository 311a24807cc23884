"""The formulas, held to steps that torch itself ran: a table that benchmarks/trace_table.py recorded."""

import re
from pathlib import Path

import pytest

from accel_estimate.model import families
from tests.estimate.conftest import ROOT
from tests.estimate.held import TABLE, Point, points, report, tables
from tests.estimate.test_docs import current

PAGE = ROOT / "docs" / "estimate-accuracy.md"


@pytest.fixture(scope="module")
def found() -> list[Point]:
    return list(points())


def test_expected_is_what_torch_allocates(found: list[Point]) -> None:
    errors = sorted(abs(point.error) for point in found)
    assert len(errors) >= 500
    assert errors[len(errors) // 2] <= 0.001, report(found)
    assert errors[int(0.91 * len(errors))] <= 0.01, report(found)
    assert errors[int(0.96 * len(errors))] <= 0.02, report(found)
    assert errors[-1] <= 0.055, report(found)


def test_every_family_that_can_be_traced_is_there(found: list[Point]) -> None:
    there = {point.model.partition(",")[0] for point in found}
    others = {"gemma3": "gemma3_text", "kimi_k2": "deepseek_v3"}  # read as these are
    loops = {
        "mamba",
        "falcon_mamba",
        "jamba",
    }  # transformers runs them as loops; a device runs another library's kernel
    assert there | loops | others.keys() == families.FAMILIES.keys()


def test_the_page_shows_the_table(found: list[Point]) -> None:
    text = re.sub(
        r"(<!-- the tables: [^\n]*-->\n).*?(?=\n## |\Z)",
        lambda it: f"{it[1]}\n{tables(found)}",
        PAGE.read_text(),
        flags=re.DOTALL,
    )
    current(Path(PAGE), text)
    assert TABLE.exists()
