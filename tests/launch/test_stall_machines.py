"""Runs over several machines that stand still: the main machine tells it, with all machines' ranks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import BIN
from tests.launch.machines import Launch
from tests.launch.processes import Script, until

Start = Callable[..., Launch]

pytestmark = [pytest.mark.machines, pytest.mark.timeout(400)]

HEAD = """\
import os, sys, time
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
rank = dist.get_rank()
def step():
    dist.all_reduce(torch.ones(1))
step()
print("here: ", rank, flush=True)
"""
STUCK = HEAD + "def load():\n    time.sleep(1000)\nload() if rank == 3 else step()\n"
HOST = re.escape(os.uname().nodename)
SIX = ("--num_processes", 6, "--grace", 1, "--stall_after", 6)


def started_on_three(started: Start, path: Path, *flags: object) -> list[Launch]:
    return [started(n, *SIX, *flags, path, machines=3) for n in range(3)]


def block(launch: Launch) -> list[str]:
    """Return the lines of the first message about the standstill, without the spaces before them."""
    assert launch.says("shows more", 180), launch.text
    lines = launch.text.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("accel: standing still"))
    last = next(n for n, line in enumerate(lines) if n > first and "shows more" in line)
    return [lines[first], *map(str.strip, lines[first + 1 : last])]


def stacks(launch: Launch) -> str:
    """Return what `accelerate stacks` prints on a machine."""
    words = [BIN / "accelerate", "stacks", str(launch.process.pid)]  # of the launcher: `ip netns exec` becomes it
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=launch.environ)
    return done.stdout + done.stderr


def test_one_rank_of_three_machines_is_stuck(started: Start, script: Script) -> None:
    launches = started_on_three(started, script(STUCK))
    main = launches[0]
    head, odd, others = block(main)
    assert "different" not in head
    assert re.fullmatch(rf"1 of 6 ranks \(3\) on machine 1 \({HOST}\): script1.py:11 load > sleep", odd), odd
    machines = ", ".join(rf"machine {n} \({HOST}\)" for n in range(3))
    waiting = rf"5 of 6 ranks \(0-2, 4-5\) on {machines}: script1.py:7 step > torch all_reduce, waiting"
    assert re.fullmatch(waiting, others), others
    for other in launches[1:]:
        assert other.says("shows all ranks", 5), other.text
        line, *again = [line for line in other.text.splitlines() if "standing still" in line]
        assert "rank 3 on machine 1" in line
        assert not again or main.text.count("standing still") > 1
    ranks = [line.partition(" on machine")[0] for line in stacks(main).splitlines()]
    assert ranks == ["1 of 6 ranks (3)", "5 of 6 ranks (0-2, 4-5)"]
    own, where = stacks(launches[2]).splitlines()
    assert own.startswith("2 of 2 ranks (4-5): ")
    assert re.fullmatch(rf"the other machines: run accelerate stacks on machine 0 \({HOST}\)", where)
    assert until(lambda: main.text.count("standing still") >= 2, 30)  # after twice the time


@pytest.mark.parametrize("together", ["each", "hosts"], indirect=True)
def test_the_end_is_the_same_everywhere(
    together: Callable[..., tuple[Launch, ...]], script: Script, tmp_path: Path
) -> None:
    words = (*SIX, "--rdzv_backend", "c10d", "--stall_action", "end", "--report", tmp_path / "%m.json")
    for n, launch in enumerate(together(*words, script(STUCK), machines=3)):
        assert launch.wait(180) == 124, launch.text
        who = r"accel: rank 3 \(machine 1, local rank 1, pid \d+, host .*\) failed first\n"
        assert re.search(who, launch.text), launch.text
        assert re.search(r"  cause: standing still for \d+ s: script1.py:11 load > sleep\n", launch.text)
        report = json.loads((tmp_path / f"{n}.json").read_text())
        (stall,) = report["stalls"]
        assert (stall["odd"], stall["ranks"]) == ([3], [0, 1, 2, 3, 4, 5])
        assert "machine 1" in stall["groups"][0]["host"]
        assert (report["status"], report["failure"]["rank"]) == (124, 3)


def test_a_stopped_launcher_is_said_to_be_so(started: Start, script: Script) -> None:
    path = script(HEAD + "step() if rank < 4 else time.sleep(1000)\n")
    launches = started_on_three(started, path, "--lifeline_timeout", 120, "--stall_action", "end")
    assert all(launch.says("here: ") for launch in launches), [launch.text for launch in launches]
    os.kill(launches[2].process.pid, signal.SIGSTOP)
    _head, waiting, unasked = block(launches[0])
    assert waiting.startswith("4 of 4 ranks (0-3) on machine 0")
    assert re.fullmatch(rf"not asked: machine 2 \({HOST}\): its launcher doesn't answer", unasked)
    assert launches[0].process.poll() is None  # where the culprit may be out of sight, nothing is ended


def test_one_machine_that_is_busy_holds_the_others(started: Start, script: Script) -> None:
    """It evaluates for three times as long as a standstill takes."""
    busy = (
        "def evaluate():\n    end = time.monotonic() + 20\n"
        "    while time.monotonic() < end: torch.rand(300, 300) @ torch.rand(300, 300)\n"
    )
    launches = started_on_three(
        started, script(HEAD + busy + "if rank > 3: evaluate()\nstep()\ndist.destroy_process_group()\n")
    )
    assert [launch.wait(180) for launch in launches] == [0, 0, 0], [launch.text for launch in launches]
    assert not any("standing still" in launch.text for launch in launches), [launch.text for launch in launches]


def test_a_mismatch_is_found_across_machines(started: Start, script: Script) -> None:
    path = script(HEAD + "def other():\n    dist.barrier()\nother() if rank > 3 else step()\n")
    head, odd, most = block(started_on_three(started, path)[0])
    assert head.endswith(": the ranks wait in different collectives")
    assert re.match(rf"2 of 6 ranks \(4-5\) on machine 2 \({HOST}\): script1.py:11 other > torch barrier", odd)
    assert most.startswith("4 of 6 ranks (0-3) on machine 0")


def test_without_a_lifeline_what_is_not_known_is_said(started: Start, script: Script) -> None:
    launches = started_on_three(started, script(STUCK), "--lifeline_port", 0)
    _head, odd, waiting, unasked = block(launches[1])
    assert odd.startswith("1 of 2 ranks (3) on machine 1")
    assert waiting.startswith("1 of 2 ranks (2)")
    assert unasked == "not asked: ranks of other launchers: no lifeline connects them"
