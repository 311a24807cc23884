"""The formulas, held to steps that torch itself ran: a table that benchmarks/trace_table.py recorded."""

import pytest

from tests.estimate.held import Point, points, report


@pytest.fixture(scope="module")
def found() -> list[Point]:
    return list(points())


def test_expected_is_what_torch_allocates(found: list[Point]) -> None:
    errors = [abs(point.error) for point in found]
    assert len(errors) >= 300
    assert sum(error <= 0.01 for error in errors) >= 0.95 * len(errors), report(found)
    assert max(errors) <= 0.05, report(found)
