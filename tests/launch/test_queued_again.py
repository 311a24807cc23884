"""Ranks that save their work and exit with 75: the run asks to be queued again, which is no failure."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import BIN, Run
from tests.launch.processes import Script, Start, gone, read_pids

# Rank 0 saves at once, and rank 1 once that is gone, and a while longer than the grace.
SAVING = """\
import os, signal, sys, time
os.chdir(os.path.dirname(os.path.abspath(__file__)))
notice = []
if {handled}:
    signal.signal(signal.SIGUSR1, lambda *_: notice.append(1))
rank = os.environ["RANK"]
open("pid-" + rank, "w").write(str(os.getpid()))
while len([name for name in os.listdir(".") if name.startswith("pid-")]) < 2:
    time.sleep(0.01)
print(os.getpid(), flush=True)
while {handled} and not notice:
    time.sleep(0.01)
if rank == "1":
    while os.path.exists("/proc/" + (open("pid-0").read() or "1")):
        time.sleep(0.01)
    {late}
print("saved", rank, flush=True)
sys.exit(75)
"""


@pytest.mark.parametrize("flags", [(), ("--max_restarts", "3", "--restart_policy", "always")])
def test_after_a_notice_all_ranks_save(
    launched: Start, script: Script, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """The one that is done first ends none of the others, not even after the grace."""
    path = script(SAVING.format(handled=True, late="time.sleep(1)"))
    words = ("--cpu", "--num_processes", "2", "--grace", "0.2", "--report", tmp_path / "report.json", *flags)
    running = launched(*words, path)
    read_pids(running, 2)
    running.send_signal(signal.SIGUSR1)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (75, "saved 0\nsaved 1\n")
    assert err.splitlines()[-1] == "accel: the run asks to be queued again (exit status 75 on ranks 0-1)"
    assert "failed" not in err
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["failure"], report["status"]) == (None, 75)
    if flags:
        assert report["not_again"] == "the script asks to be queued again (exit status 75): not started again"
        assert report["progress"] == 1


@pytest.mark.parametrize(
    ("late", "grace", "status", "said"),
    [
        ("time.sleep(0.5)", "60", 75, "accel: the run asks to be queued again (exit status 75 on ranks 0-1)"),
        (
            "time.sleep(60)",
            "0.5",
            75,
            "accel: the run asks to be queued again (exit status 75 on rank 0; terminated as a result: rank 1)",
        ),
        ("sys.exit('no space is left')", "60", 1, "  last line: no space is left"),
        ("os.kill(os.getpid(), 9)", "60", 137, "  cause: terminated by SIGKILL: "),
    ],
)
def test_without_a_notice_the_others_have_the_grace(
    accelerate: Run, script: Script, late: str, grace: str, status: int, said: str
) -> None:
    path = script(SAVING.format(handled=False, late=late))
    done = accelerate("launch", "-q", "--cpu", "--num_processes", "2", "--grace", grace, str(path))
    assert done.returncode == status
    assert said in done.stderr
    assert ("rank 1 (local rank 1" in done.stderr) == (status != 75)
    assert ("failed first" in done.stderr) == (status != 75)


def test_a_signal_that_ends_the_run_counts_after_that(
    environ: dict[str, str], script: Script, tmp_path: Path
) -> None:
    """A rank that has saved already isn't a failure that came before the signal."""
    path = script(SAVING.format(handled=True, late="time.sleep(60)"))
    words = [BIN / "accelerate", "launch", "--cpu", "--num_processes", "2", path]
    with subprocess.Popen(
        words, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        read_pids(running, 2)
        running.send_signal(signal.SIGUSR1)
        assert running.stdout is not None
        assert running.stdout.readline() == "saved 0\n"
        assert gone([int((tmp_path / "pid-0").read_text())])
        time.sleep(0.5)  # until the launcher knows
        running.terminate()
        _out, err = running.communicate(timeout=60)
    assert running.returncode == -signal.SIGTERM
    assert "accel: terminated by SIGTERM; ranks 0-1 ended in" in err
