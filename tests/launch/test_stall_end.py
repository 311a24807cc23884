"""How a run ends that is ended for standing still, whatever comes while its ranks end."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.launch.processes import Script, Start

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

ENDS = ("-q", "--cpu", "--num_processes", "2", "--stall_after", "2", "--stall_action", "end", "--grace", "3")
SHOWN = "accel: what the ranks did when standing still ended the run:\n"
DEAF = (
    "import os, signal, threading, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "def wait():\n    threading.Event().wait()\ndef rest():\n    time.sleep(1000)\n"
    "wait() if int(os.environ['RANK']) else rest()\n"
)
CAUSE = "standing still for 2 s: no rank waits in a collective: rank 0: script1.py:6 rest > sleep; rank 1: "


def signalled(running: subprocess.Popen[str], *numbers: int) -> str:
    """Send signals to a launcher while its ranks outstay the end of a standstill, and return what it prints."""
    assert running.stderr is not None
    err = ""
    while SHOWN not in err:
        line = running.stderr.readline()
        assert line, err
        err += line
    time.sleep(0.5)
    for number in numbers:
        running.send_signal(number)
        time.sleep(0.1)
    return err + running.communicate(timeout=20)[1]


@pytest.mark.parametrize(
    "numbers", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM)], ids=["term", "int", "twice"]
)
def test_a_signal_after_the_end_of_a_standstill_does_not_change_the_status(
    launched: Start, script: Script, tmp_path: Path, numbers: tuple[int, ...]
) -> None:
    running = launched(*ENDS, "--report", tmp_path / "report.json", script(DEAF))
    err = signalled(running, *numbers)
    assert running.returncode == 124, err
    assert f"  cause: {CAUSE}" in err
    assert "exception: " not in err
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["status"], report["signal"]) == (124, None)
    assert report["failure"]["cause"].startswith(CAUSE)


def test_nor_that_of_a_run_that_would_have_been_started_again(
    launched: Start, script: Script, tmp_path: Path
) -> None:
    running = launched(
        *ENDS, "--restart_policy", "always", "--max_restarts", "3", "--report", tmp_path / "report.json", script(DEAF)
    )
    err = signalled(running, signal.SIGTERM)
    assert running.returncode == 124, err
    assert "restart 1 of 3" not in err
    assert "  not started again: SIGTERM\n" in err
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["status"] == 124
    assert report["failure"]["cause"].startswith(CAUSE)
    assert [one["status"] for one in report["attempts"]] == [124]
