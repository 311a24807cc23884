"""A rank that has left, by its end or by `destroy_process_group()`, is blamed for the connections that others lose."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from accel_launch.inspecting.groups import Group
from accel_launch.planning.types import Command, Plan, Watching
from accel_launch.running.onlookers.stall.telling import Stall
from accel_launch.running.report.judging import judge
from accel_launch.running.report.observation import Output
from accel_launch.running.report.records import Ending
from tests.conftest import Run, needs_torch
from tests.launch.processes import Script
from tests.launch.test_report import NOTHING

CLOSED = "[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:1. It has crashed."
RESET = "[gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:3983: Connection reset by peer. GLHF!"
ME = (
    "import atexit, os, sys, threading, time\nrank, file = int(os.environ['RANK']), sys.argv[0] + '.left'\n"
    "def leave(): open(file, 'w').close()\n"
)
LOSE = f"while not os.path.exists(file): time.sleep(0.002)\ntime.sleep(0.5)\nraise RuntimeError({CLOSED!r})\n"
"""What a rank does after another one has left, all at the same moment."""
ENDS = "it had ended: exit status 0\n"
SHUTDOWN = "threading.Thread(target=time.sleep, args=(1.5,)).start(); "
"""An interpreter that takes a while to end, with nothing of the script on its stack."""


def _launch(accelerate: Run, path: Path, report: Path, ranks: int = 3) -> tuple[str, dict[str, Any]]:
    flags = ("-q", "--cpu", "--num_processes", str(ranks), "--grace", "1", "--report", report)
    done = accelerate("launch", *flags, path, timeout=180)
    assert done.returncode == 1, done.stderr
    return done.stderr, json.loads(report.read_text())


@pytest.mark.parametrize(
    ("leaves", "where", "source"),
    [
        ("rest()", "it was at script1.py:5 rest > sleep\n", "stacks"),
        (f"{SHUTDOWN}sys.exit()", ENDS, "ending"),
        pytest.param(
            "atexit.register(rest); sys.exit()", "script1.py:5 rest > sleep\n", "stacks", marks=pytest.mark.exhaustive
        ),
    ],
    ids=["elsewhere", "ending", "at exit"],
)
def test_who_left_is_named_while_it_is_still_there(
    accelerate: Run, script: Script, tmp_path: Path, leaves: str, where: str, source: str
) -> None:
    text = ME + f"def rest():\n    time.sleep(1000)\nif rank == 1: leave(); {leaves}\n{LOSE}"
    said, report = _launch(accelerate, script(text), tmp_path / "report.json")
    assert "accel: rank 1 (local rank 1, pid" in said
    assert re.search(r" rank [02] lost its connection to it at script1\.py:\d+; ", said), said
    assert where in said.partition("  cause: missing: rank ")[2], said
    timeout = report["collective_timeout"]
    assert (timeout["missing"], timeout["source"], report["failure"]["rank"]) == ([1], source, 1)
    assert f"{timeout['where'].rpartition('/')[2]}; " in said


def test_a_rank_that_fails_while_it_ends_has_not_left(accelerate: Run, script: Script, tmp_path: Path) -> None:
    text = ME + f"if rank == 1: leave(); {SHUTDOWN}sys.exit(3)\n{LOSE}"
    said, report = _launch(accelerate, script(text), tmp_path / "report.json")
    assert "accel: rank 1 (" not in said
    assert report["collective_timeout"] is None


def test_a_rank_that_raises_is_blamed_although_it_closes_its_connections_first(
    accelerate: Run, script: Script, tmp_path: Path
) -> None:
    text = ME + (
        "def train():\n    try:\n        raise ValueError('mine')\n    finally:\n        time.sleep(1)\n"
        f"if rank == 1: leave(); train()\natexit.register(time.sleep, 2)\n{LOSE}"
    )
    said, report = _launch(accelerate, script(text), tmp_path / "report.json")
    assert "  exception: ValueError: mine\n" in said
    assert (report["failure"]["rank"], report["collective_timeout"]) == (1, None)
    assert {each["rank"] for each in report["also_raised"]} == {0, 2}


# What is seen, and how each rank ends: 0 and 2 complain, as far as it isn't said otherwise.

LOST, GOOD, TERMINATED, KILLED, FAILED = (1, 0), (0, 0), (143, 15), (137, 9), (3, 0)  # status and signal
BOTH = (TERMINATED, TERMINATED)
ELSEWHERE = Group((1,), "train.py:7 load > sleep", file="train.py", line=7)
WAITS = Group((2,), "train.py:9 step > torch all_reduce, waiting", collective=True, file="train.py", line=9)
GONE = Group((1,), "ended", ended=True)
HALF = GONE.replace(ranks=(0, 1))
OUT = Group((1,), "library.py:3 clear", file="/x/site-packages/library.py", line=3)
DESTROYS = ELSEWHERE.replace(doing="train.py:8 f", operations=("torch destroy_process_group",))
SLOW = Group((2,), "train.py:5 read", file="train.py", line=5)
BARE = Group((1,), "python, running")


def _judged(
    ends: tuple[tuple[int, int], ...],
    kinds: tuple[str, ...],
    groups: tuple[Group, ...],
    *,
    at: float = 100.0,
    **more: Any,
) -> tuple[tuple[int, ...], str]:
    plan = Plan(engine="local", commands=tuple(Command((), env={}, rank=rank) for rank in range(len(ends))), **more)
    endings = tuple(Ending(rank, rank, 1, status, number, 101.0 + rank) for rank, (status, number) in enumerate(ends))
    lost = f'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\nRuntimeError: {RESET}\n'
    outputs = {rank: Output(lost, 100.0, 100.0) for rank, how in enumerate(ends) if how == LOST}
    seen = Stall(at=at, since=at, ranks=tuple(range(len(ends))), groups=groups, kinds=dict(enumerate(kinds)))

    def output(local: int) -> Output:
        return outputs.get(local, Output())

    observation = NOTHING.replace(endings=endings, standing=seen, output=output)
    timeout = judge(plan, observation).collective_timeout
    return ((), "") if timeout is None else (timeout.missing, timeout.source)


@pytest.mark.parametrize(
    ("ends", "kinds", "groups", "expected"),
    [
        ((LOST, TERMINATED, LOST), ("waiting", "still", "waiting"), (ELSEWHERE,), ((1,), "stacks")),
        ((LOST, TERMINATED, TERMINATED), ("ending", "still", "waiting"), (ELSEWHERE, WAITS), ((1,), "stacks")),
        ((LOST, KILLED, LOST), ("waiting", "still", "waiting"), (ELSEWHERE,), ((1,), "stacks")),
        ((LOST, TERMINATED, LOST), ("ending", "ending", "waiting"), (DESTROYS,), ((1,), "stacks")),
        ((LOST, GOOD, LOST), ("ending", "ending", "waiting"), (OUT,), ((1,), "ending")),
        ((LOST, GOOD, LOST), ("ending", "ended", "waiting"), (GONE,), ((1,), "ending")),
        ((LOST, GOOD, TERMINATED), ("ending", "ending", "still"), (OUT, SLOW), ((1,), "ending")),
        ((LOST, TERMINATED, LOST), ("ending", "ending", "ending"), (BARE,), ((1,), "silence")),
        (
            (LOST, *BOTH, LOST, LOST),
            ("waiting", "still", "still", "waiting", "waiting"),
            (ELSEWHERE.replace(ranks=(1, 2)),),
            ((1, 2), "stacks"),
        ),
        ((GOOD, LOST), ("ended", "waiting"), (), ((0,), "ending")),
        ((GOOD, LOST, TERMINATED), ("ended", "waiting", "waiting"), (GONE,), ((0,), "ending")),
        ((GOOD, GOOD, LOST, *BOTH), ("ended", "ended", *3 * ("waiting",)), (HALF,), ((0, 1), "ending")),
        # A half or more has left, before the first one failed or afterwards: it waits for them by mistake.
        ((GOOD, GOOD, LOST, LOST), ("ended", "ended", "waiting", "waiting"), (HALF,), ((), "")),
        ((GOOD, GOOD, LOST, TERMINATED), ("ended", "ended", "waiting", "waiting"), (HALF,), ((), "")),
        ((LOST, TERMINATED, GOOD, GOOD), ("waiting", "waiting", "ended", "ended"), (GONE,), ((), "")),
        ((GOOD, LOST, GOOD, TERMINATED), ("ended", "waiting", "ended", "waiting"), (GONE,), ((), "")),
        ((GOOD, GOOD, LOST), ("ended", "ended", "waiting"), (HALF,), ((), "")),
        (
            (LOST, *BOTH, LOST),
            ("waiting", "still", "still", "waiting"),
            (ELSEWHERE.replace(ranks=(1, 2)),),
            ((), ""),
        ),
        # It isn't sure who.
        ((LOST, *BOTH, LOST), ("waiting", "still", "still", "waiting"), (ELSEWHERE, SLOW), ((), "")),
        ((LOST, TERMINATED, TERMINATED), ("ending", "still", "still"), (ELSEWHERE, SLOW), ((), "")),
        ((LOST, TERMINATED, TERMINATED), ("ending", "ending", "ending"), (BARE, SLOW), ((), "")),
        ((LOST, GOOD, GOOD), ("ending", "ending", "ending"), (), ((), "")),
        ((LOST, LOST, LOST), ("ending", "still", "waiting"), (ELSEWHERE,), ((), "")),
        # It may have failed.
        ((LOST, KILLED, LOST), ("ending", "ending", "waiting"), (BARE,), ((), "")),
        ((LOST, FAILED, LOST), ("ending", "still", "waiting"), (ELSEWHERE,), ((), "")),
        ((LOST, TERMINATED, FAILED), ("ending", "still", "waiting"), (ELSEWHERE, WAITS), ((), "")),
    ],
)
def test_who_has_left(
    ends: tuple[tuple[int, int], ...], kinds: tuple[str, ...], groups: tuple[Group, ...], expected: tuple[object, str]
) -> None:
    assert _judged(ends, kinds, groups) == expected


def test_only_a_look_at_that_moment_and_at_all_ranks_counts() -> None:
    seen = ((LOST, TERMINATED, LOST), ("waiting", "still", "waiting"), (ELSEWHERE,))
    assert _judged(*seen) == ((1,), "stacks")
    assert _judged(*seen, at=90.0) == ((), "")
    assert _judged(*seen, watching=Watching(elsewhere=True)) == ((), "")


@needs_torch
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("after", "where"),
    [
        ("pass", " lost its connection to it"),  # on an overloaded machine it takes too long to end
        ("time.sleep(1000)", "it was at script1.py:6 after"),
    ],
)
def test_a_rank_that_destroys_its_process_group_early(
    accelerate: Run, script: Script, tmp_path: Path, after: str, where: str
) -> None:
    text = ME + (
        f"import torch, torch.distributed as dist\ndef after():\n    {after}\ndist.init_process_group('gloo')\n"
        "for step in range(3 if rank == 1 else 6):\n    dist.all_reduce(torch.ones(1))\n"
        "dist.destroy_process_group()\nafter()\n"
    )
    said, report = _launch(accelerate, script(text), tmp_path / "report.json")
    assert report["collective_timeout"]["missing"] == [1], said
    assert where in said, said


@needs_torch
@pytest.mark.exhaustive
def test_a_rank_that_raises_and_then_destroys_its_process_group(
    accelerate: Run, script: Script, tmp_path: Path
) -> None:
    text = ME + (
        "import torch, torch.distributed as dist\ndist.init_process_group('gloo')\n"
        "try:\n    for step in range(6):\n        if step == 3 and rank == 1: raise ValueError('mine')\n"
        "        dist.all_reduce(torch.ones(1))\nfinally:\n    dist.destroy_process_group()\n"
    )
    said, report = _launch(accelerate, script(text), tmp_path / "report.json")
    assert (report["failure"]["rank"], report["failure"]["exception"]) == (1, "ValueError: mine"), said
