"""What a new file holds of an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel_config import CATALOGUE
from accel_config.asking.answers import Answers
from accel_config.asking.content import content


@pytest.mark.parametrize("typed", ["setup.sh", "./setup.sh", "~/setup.sh", "{}/setup.sh"])
def test_the_command_file_is_stored_absolute(typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tpu-config` reads the config file from any folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    answers = Answers()
    answers.keep(CATALOGUE.by_name["distributed_type"], "XLA")
    answers.keep(CATALOGUE.by_name["command_file"], typed.format(tmp_path))
    assert content(answers)["command_file"] == str(tmp_path / "setup.sh")
