"""A setting that is off at 0, and has a least value otherwise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jsonschema
import pytest

from accel_config import CATALOGUE
from accel_config.errors import SettingError
from accel_config.settings.origin import FLAG, Origin

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

WANTED = "stall_after must be seconds, or a time such as 10m or 1h30m, at least 1, or 0, not "


@pytest.mark.parametrize("text", ["0", "0.0", "0s", "1", "1.5", "1s", "5m"])
def test_zero_and_what_is_long_enough_are_taken(text: str) -> None:
    CATALOGUE.by_name["stall_after"].parse(text, Origin("--stall_after", FLAG))


@pytest.mark.parametrize("text", ["0.05", "0.000001", "1e-300", "0.999", "0.5s", "-1"])
def test_what_is_too_short_is_refused(text: str) -> None:
    with pytest.raises(SettingError) as caught:
        CATALOGUE.by_name["stall_after"].parse(text, Origin("--stall_after", FLAG))
    assert str(caught.value) == f"--stall_after: {WANTED}{text!r}"


def test_it_is_refused_wherever_it_comes_from(accelerate: Run, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text("print('ran')\n")
    (tmp_path / "short.yaml").write_text("stall_after: 0.05\n")
    done = accelerate("launch", "--cpu", "--stall_after", "0.05", "t.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--stall_after: {WANTED}'0.05'" in done.stderr
    done = accelerate("launch", "--cpu", "--config_file", "short.yaml", "t.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"short.yaml:1: {WANTED}0.05" in done.stderr
    environ["ACCELERATE_LAUNCH_STALL_AFTER"] = "1e-300"
    done = accelerate("launch", "--cpu", "t.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"ACCELERATE_LAUNCH_STALL_AFTER: {WANTED}'1e-300'" in done.stderr


def test_the_schema_says_the_same(accelerate: Run) -> None:
    schema = json.loads(accelerate("config", "schema").stdout)
    one = schema["properties"]["stall_after"]
    for value, valid in ((0, True), (1, True), (300.5, True), (0.05, False), (-1, False)):
        assert jsonschema.Draft202012Validator(one).is_valid(value) is valid, value
