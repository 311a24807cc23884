"""Machines that differ, made of network namespaces: what is told, and refused, before any rank starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launch.machines import Launch

Start = Callable[..., Launch]

pytestmark = [pytest.mark.machines, pytest.mark.timeout(400)]

SCRIPT = """
import helper, os
gate = open(f"/proc/{os.getppid()}/environ").read().partition("ACCEL_GATE=")[2].partition(chr(0))[0]
print("rank", os.environ["RANK"], "starts", "ACCEL_GATE" in os.environ, os.stat(gate).st_size, flush=True)
"""


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Path, Path]:
    """The script's folder as two machines have it: a module differs."""
    made = (tmp_path / "here", tmp_path / "there")
    for n, folder in enumerate(made):
        folder.mkdir()
        (folder / "train.py").write_text(SCRIPT)
        (folder / "helper.py").write_text(f"x = {n}\n")
    return made


def test_machines_that_can_not_work_together_are_refused_everywhere(
    started: Start, copies: tuple[Path, Path], tmp_path: Path, environ: dict[str, str]
) -> None:
    here, there = copies
    flags = ("--num_processes", 3, "--mixed_precision")
    launches = [
        started(0, *flags, "bf16", "--report", tmp_path / "report.json", here / "train.py", machines=3),
        started(1, *flags, "bf16", here / "train.py", machines=3),
    ]
    (tmp_path / "other" / "torch-2.4.0.dist-info").mkdir(parents=True)
    environ["PYTHONPATH"] = str(tmp_path / "other")
    environ["NCCL_ALGO"] = "Ring"
    launches.append(started(2, *flags, "no", there / "train.py", machines=3))
    assert [launch.wait() for launch in launches] == [1, 1, 1], [launch.text for launch in launches]
    assert not any("starts" in launch.text for launch in launches)
    told = launches[0].text
    for line in (
        "note: helper.py: digest ",
        "note: mixed_precision: bf16 on machines 0-1; not set on machine 2 (host ",
        "note: NCCL_ALGO: not set on machines 0-1; Ring on machine 2 (host ",
    ):
        assert line in told, told
    assert "the script: digest" not in told  # the copy is the same
    assert all("2.4.0 on machine 2 (host " in launch.text for launch in launches), [
        launch.text for launch in launches
    ]
    assert all("--allow_difference torch\n" in launch.text for launch in launches)
    report = json.loads((tmp_path / "report.json").read_text())
    assert {one["name"]: one["refused"] for one in report["differences"]} == {
        "torch": True,
        **dict.fromkeys(("mixed_precision", "NCCL_ALGO", "PYTHONPATH", "helper.py"), False),
    }
    assert report["problems"][0].startswith("the machines aren't the same: torch: ")


def test_what_is_allowed_goes_on_and_ranks_start_after_the_notes(
    started: Start, copies: tuple[Path, Path], tmp_path: Path, environ: dict[str, str]
) -> None:
    flags = ("--num_processes", 2, "--allow_difference", "torch,script")
    first = started(0, *flags, copies[0] / "train.py")
    (tmp_path / "other" / "torch-2.4.0.dist-info").mkdir(parents=True)
    environ["PYTHONPATH"] = str(tmp_path / "other")
    second = started(1, *flags, copies[1] / "train.py")
    assert (first.wait(), second.wait()) == (0, 0), first.text + second.text
    assert "rank 0 starts False 1" in first.text
    assert "rank 1 starts False 1" in second.text
    assert "note: torch: " in first.text.partition("starts")[0]
    assert "helper.py" not in first.text


@pytest.mark.parametrize("absent", [0, 1])
def test_a_machine_without_the_script_is_told_everywhere(
    started: Start, copies: tuple[Path, Path], absent: int
) -> None:
    first = started(1 - absent, "--num_processes", 2, copies[0] / "train.py")
    assert first.says(f"waiting for machine {absent}")
    second = started(absent, "--num_processes", 2, copies[0] / "gone.py")
    assert (first.wait(), second.wait()) == (1, 2), first.text + second.text
    assert f"the run isn't possible there: the script {copies[0] / 'gone.py'} doesn't exist" in first.text
