"""How much of a run was progress: what is done again doesn't count, nor does what nothing shows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from accel_launch import launch
from accel_launch.running.restarting.progress import Progress
from accel_launch.running.restarting.repetition import Repetition
from tests.conftest import BIN, Run
from tests.launch.processes import Script, Start, read_pids

# The second attempt begins anew and fails a little before the step of the first one; the third repeats that for longer.
REPEATING = """\
import os, sys, time

def steps(first, last, seconds):
    for step in range(first, last):
        print("step", step, flush=True)
        time.sleep(seconds / (last - first))

count = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
if count < 2:
    steps(0, 20 - count, 0.2)
    sys.exit(3 + count)
steps(10, 20, 1.5)
steps(20, 30, 0.2)
"""


def test_steps_that_are_repeated_are_no_progress(accelerate: Run, script: Script, tmp_path: Path) -> None:
    words = ("launch", "--cpu", "--max_restarts", "3", "--report", "report.json", str(script(REPEATING)))
    done = accelerate(*words)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    first, second, third = report["attempts"]
    assert first["progress"] >= 0.15
    assert second["progress"] == 0
    assert 0.15 <= third["progress"] <= third["ended"] - third["began"] - 1
    assert f"{report['progress']:.0%} of" in done.stderr
    assert report["progress"] < 0.8
    lost = [f"{one['ended'] - one['began'] - one['progress']:.1f}" for one in (first, second)]
    assert re.findall(r"; ([\d.]+) s lost; restart", done.stderr) == lost


def test_the_last_steps_count_only_once() -> None:
    """It is looked now and then, and at the end."""
    at = Progress(step=5)
    repetition = Repetition(Progress(step=9), lambda: at)
    assert 0 <= repetition.due <= 1
    repetition.next = 0
    repetition.step()
    assert not repetition.over
    assert repetition.seconds > 0
    at = Progress(step=10)
    repetition.step()  # not yet
    assert not repetition.over
    repetition.end()
    assert (repetition.over, repetition.due) == (True, -1)
    assert Repetition(None, lambda: at).due == -1  # nothing to compare with


def test_a_run_that_is_ended_has_the_progress_that_it_shows(script: Script) -> None:
    path = script("import time\ntime.sleep(60)\n")
    result = launch(path, cpu=True, num_processes=2, max_restarts=1, timeout=1, grace=9)
    assert (result.status, result.progress) == (124, 0)


def test_a_run_that_saves_when_it_is_ended_has_used_its_time(launched: Start, script: Script, tmp_path: Path) -> None:
    path = script(
        "import os, signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(75))\nprint(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    running = launched("--cpu", "--num_processes", "2", "--max_restarts", "1", "--report", tmp_path / "r.json", path)
    read_pids(running, 2)
    running.terminate()
    assert running.wait(60) == -signal.SIGTERM
    assert json.loads((tmp_path / "r.json").read_text())["progress"] == 1


def test_a_clock_that_is_set_changes_no_age(script: Script, tmp_path: Path) -> None:
    """The wall clock jumps by an hour in each attempt."""
    (tmp_path / "sitecustomize.py").write_text(
        "import time\nclock, began = time.time, time.monotonic()\n"
        "time.time = lambda: clock() - 3600 * (time.monotonic() > began + 0.5)\n"
    )
    path = script("import time\ntime.sleep(0.6)\n1 / 0\n")
    code = f"from accel_launch.cli import main; main(['--cpu', '--max_restarts', '1', '--report', 'r.json', {str(path)!r}])"
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environ, cwd=tmp_path, timeout=60, check=False)
    attempts = json.loads((tmp_path / "r.json").read_text())["attempts"]
    assert len(attempts) == 2
    assert all(0.5 < one["ended"] - one["began"] < 60 for one in attempts)
    assert 0 < attempts[1]["began"] - attempts[0]["ended"] < 60


def test_no_folder_is_left_whoever_is_killed(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    """The ranks' progress files are in one."""
    path = script("import os, time\nprint(os.environ['ACCELERATE_PROGRESS_FILE'], flush=True)\ntime.sleep(60)\n")
    words = [BIN / "accelerate", "launch", "--cpu", "--max_restarts", "1", path]
    for number in (signal.SIGKILL, signal.SIGTERM):
        with subprocess.Popen(
            words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as run:
            assert run.stdout is not None
            folder = Path(run.stdout.readline().strip()).parent
            assert folder.is_dir()
            run.send_signal(number)
        end = time.monotonic() + 20
        while folder.exists() and time.monotonic() < end:
            time.sleep(0.01)
        assert not folder.exists()


def test_the_line_about_a_restart_has_what_the_script_said_and_what_is_waited_for(
    accelerate: Run, script: Script, tmp_path: Path
) -> None:
    path = script(
        "import os, subprocess, sys\ncount = int(os.environ['TORCHELASTIC_RESTART_COUNT'])\n"
        "if count == 0: sys.exit('the disk is gone')\n"
        "if count == 1:\n"
        "    subprocess.Popen(['sh', '-c', 'sleep 0.5; touch later'], start_new_session=True, stdout=subprocess.DEVNULL,\n"
        "        stderr=subprocess.DEVNULL, env={**os.environ, 'ACCEL_DAEMON': '1'})\n"
        "open('later')\n"
    )
    done = accelerate("launch", "--cpu", "--max_restarts", "3", str(path))
    assert done.returncode == 0, done.stderr
    first, second = (line for line in done.stderr.splitlines() if line.startswith("accel: attempt"))
    assert first.startswith("accel: attempt 0: rank 0: exit status 1: the disk is gone; ")
    assert second.endswith("; restart 2 of 3 as soon as the file is there, or in 10 s")
    assert (tmp_path / "later").exists()
