"""Torch's own agent on one machine: what it makes of the ranks' words, and what its attempts come to."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from accel_launch.running.engine_record import attempts_in
from accel_launch.running.report.judging import attempt_note
from tests.conftest import Run, needs_torch
from tests.launch.processes import Script, Start

AGENT = ("--engine", "torchrun")
ATTEMPTS = """
import os, sys
count = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
print(sys.argv[1:], count, flush=True)
sys.exit(3 if count < 1 else 0)
"""


@needs_torch
def test_words_reach_the_script_as_they_are_and_attempts_are_told(accelerate: Run, script: Script) -> None:
    words = ["$$", "${local_rank}", "$HOME", "a$b", "100$"]
    done = accelerate("launch", "--cpu", *AGENT, "--max_restarts", "2", script(ATTEMPTS), *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{words} 0\n{words} 1\n"
    assert "note: attempt 0 ended at " in done.stderr
    assert "(rank 0: exit status 3); the ranks were restarted" in done.stderr


@pytest.mark.exhaustive
@needs_torch
def test_of_a_run_that_fails_in_the_end_the_last_attempt_counts(accelerate: Run, script: Script) -> None:
    code = ATTEMPTS.replace("3 if count < 1 else 0", "3 + count")
    done = accelerate("launch", "--cpu", *AGENT, "--max_restarts", "1", script(code))
    assert done.returncode == 4, done.stderr
    assert "cause: exit status 4" in done.stderr


@pytest.mark.exhaustive
@needs_torch
def test_an_interrupt_while_the_agent_ends_the_others_leaves_the_failure_its_name(
    launched: Start, script: Script, tmp_path: Path
) -> None:
    code = (
        "import os, signal, sys, time\n"
        "if os.environ['RANK'] == '1':\n"
        "    while not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
        "    sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('told', flush=True))\n"
        "open(sys.argv[1], 'w').close()\n"
        "while True: time.sleep(1)\n"
    )
    running = launched("--cpu", "--num_processes", "2", "--engine", "torchrun", script(code), tmp_path / "ready")
    assert running.stdout is not None
    assert running.stdout.readline() == "told\n"
    running.send_signal(signal.SIGINT)
    err = running.communicate(timeout=20)[1]
    assert running.returncode == 7, err
    assert "accel: rank 1 (local rank 1, pid " in err


@pytest.mark.parametrize(
    ("lines", "attempts"),
    [
        ("", [[]]),
        # One rank is there and gone before another starts: that is no second attempt.
        ("started 0 0 5 4 0\nended 0 0 5 256 1.0\nstarted 1 1 6 4 0\nended 1 1 6 15 2.0\n", [[0, 1]]),
        ("started 0 0 5 4 0\nended 0 0 5 256 1.0\nstarted 0 0 7 4 1\nended 0 0 7 0 2.0\n", [[0], [0]]),
        # Without torch's agent: ranks of two hosts that are one machine, each the first of its host.
        ("started 1 0 5 4 -\nended 1 0 5 256 1.0\nstarted 0 0 6 4 -\nended 0 0 6 15 2.0\n", [[1, 0]]),
        # A machine joined: the agent doesn't count that.
        ("started 0 0 5 4 0\nended 0 0 5 15 1.0\nstarted 1 0 7 4 0\nended 1 0 7 0 2.0\n", [[0], [1]]),
        # The agent killed a rank's parent with it, so that its end was never written down.
        ("started 0 0 5 4 0\nstarted 1 1 6 4 0\nended 0 0 5 256 1.0\nstarted 1 1 8 4 1\n", [[0], []]),
    ],
)
def test_attempts_as_recorded(lines: str, attempts: list[list[int]]) -> None:
    assert [[ending.rank for ending in attempt] for attempt in attempts_in(lines)] == attempts


def test_an_attempt_of_which_nothing_is_known_is_told_too() -> None:
    assert attempt_note(2, ()) == "attempt 2 ended (no rank here failed); the ranks were restarted"


HANGS = """\
import os, sys, time
if int(os.environ["TORCHELASTIC_RESTART_COUNT"]) < int(sys.argv[1]):
    if os.environ["RANK"] == "1":
        time.sleep(1000)
    __import__("threading").Event().wait()
"""


@needs_torch
@pytest.mark.exhaustive
@pytest.mark.parametrize(("attempts", "status", "killed"), [(1, 0, 1), (9, 124, 1)])
def test_standing_still_leads_to_a_restart_by_the_agent(
    accelerate: Run, script: Script, tmp_path: Path, attempts: int, status: int, killed: int
) -> None:
    flags = ("--engine", "torchrun", "--max_restarts", "1", "--stall_after", "3", "--stall_action", "end")
    report = tmp_path / "report.json"
    words = ("--cpu", "--num_processes", "3", "--grace", "1", "--report", report, script(HANGS), attempts)
    done = accelerate("launch", *flags, *map(str, words))
    assert done.returncode == status, done.stderr
    assert done.stderr.count("is killed, so that torchrun starts all again: restart 1 of 1\n") == killed
    assert "accel: rank 1 is killed" in done.stderr
    assert "the run moves again" not in done.stderr
    assert len(json.loads(report.read_text())["stalls"]) == (1 if status == 0 else 2)
