"""The launcher's contract in a second attempt, whose ranks are forked from the parked process: the same promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Run
from tests.launch import test_preload_contract as contract
from tests.launch.processes import Script

# Those that show what a run with restarts prints besides; and those that look for the guardian below the launcher,
# whose promises are in test_parked.py.
OTHERS = {
    "test_a_script_that_cannot_be_executed",
    "test_killing_any_one_process_of_the_launcher_leaves_nothing",
    "test_log_files_and_filter",
    "test_tee_by_rank_marks_lines_as_torchrun_does",
    "test_the_launcher_and_its_guardian_killed_at_once_take_the_ranks_along",
    "test_the_report_names_the_line_and_comes_last",
}
# What runs by default; the marker `exhaustive` runs the others.
SAMPLE = {"test_64_ranks_are_gone_within_a_second", "test_this_really_is_the_second_attempt"}

globals().update({name: getattr(contract, name) for name in contract.__all__ if name not in OTHERS})


@pytest.fixture(autouse=True)
def parked(environ: dict[str, str]) -> None:
    """The ranks of the first attempt leave before they are Python's."""
    environ["PYTHONPATH"] = str(Path(__file__).parent / "modules")
    environ["ACCELERATE_LAUNCH_PRELOAD"] = "again"
    environ["ACCELERATE_LAUNCH_MAX_RESTARTS"] = "1"


def test_this_really_is_the_second_attempt(accelerate: Run, script: Script) -> None:
    path = script("import os, sys\nprint(os.environ['TORCHELASTIC_RESTART_COUNT'], 'again' in sys.modules)")
    done = accelerate("launch", "--cpu", "--num_processes", "2", path)
    assert done.stdout == "1 True\n" * 2
