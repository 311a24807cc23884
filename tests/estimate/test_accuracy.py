"""Published measurements: how close the estimates are. `python tests/estimate/accuracy.py` prints every row."""

import json
from statistics import median

import pytest

from tests.estimate.accuracy import MEASURED, report, rows


@pytest.fixture(scope="module")
def found() -> list[object]:
    return list(rows())


def test_half_are_within_a_tenth_and_nine_in_ten_inside_low_and_high(capsys: pytest.CaptureFixture[str]) -> None:
    measured = list(rows())
    text = report(measured)
    with capsys.disabled():
        print("\n" + "\n".join(text.splitlines()[-2:]))
    assert len(measured) >= 40
    assert median(abs(row.error) for row in measured) <= 0.10, text
    assert sum(row.inside for row in measured) >= 0.9 * len(measured), text


def test_every_kind_of_run_is_there_with_its_source() -> None:
    data = json.loads(MEASURED.read_text())
    settings = [source["settings"] | row["settings"] for source in data["sources"] for row in source["rows"]]
    assert any("quantize" in s for s in settings)
    assert any(s.get("lora_rank") and "quantize" not in s for s in settings)
    assert any(not s.get("lora_rank") for s in settings)
    assert any(s.get("zero_stage") == 3 for s in settings)
    assert any(s.get("fsdp") == "full" for s in settings)
    assert {s.get("gradient_checkpointing", "none") for s in settings} == {"none", "selective", "full"}
    for source in data["sources"]:
        assert source["url"].startswith("https://github.com/")
        assert source["why"]
        assert source["figure"] in ("allocated", "reserved", "device")
