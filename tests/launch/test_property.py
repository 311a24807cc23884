"""Random trees of processes, deaths and signals: nothing survives the launcher, and its status is the contract's.

Each tree grows from ranks that were started plainly, or forked from one import.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.launch.processes import close, marked, start, until

# What a process of the tree does: start children in some way, then end in some way. It reads its part as JSON.
TREE = """
import json, os, signal, subprocess, sys, time
part = json.loads(sys.argv[1]) if len(sys.argv) > 1 else json.loads(os.environ["TREE"])[int(os.environ["RANK"])]
if part["deaf"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
else:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own would print a traceback, and none of ours may hide there
for child in part["children"]:
    words = [sys.executable, "-S", __file__, json.dumps(child)]
    if child["how"] == "orphan":
        words = ["sh", "-c", '"$@" & exit 0', "sh", *words]
    subprocess.Popen(words, start_new_session=child["how"] == "session", stdout=subprocess.DEVNULL)
if "RANK" in os.environ and len(sys.argv) == 1:
    print("up", flush=True)
time.sleep(part["after"] / 1000)
end = part["end"]
if end == "sleep":
    time.sleep(60 if len(sys.argv) > 1 else 1)
elif end < 0:
    signal.signal(-end, signal.SIG_DFL) if end != -9 else None
    os.kill(os.getpid(), -end)
    time.sleep(1)
os._exit(end if isinstance(end, int) and end >= 0 else 0)
"""


def process(depth: int) -> st.SearchStrategy[dict[str, object]]:
    children = st.lists(process(depth - 1), max_size=2) if depth else st.just(list[dict[str, object]]())
    return st.fixed_dictionaries(
        {
            "how": st.sampled_from(["child", "session", "orphan"]),
            "children": children,
            "deaf": st.booleans(),
            "after": st.integers(0, 150),
            "end": st.sampled_from([0, 0, 1, 3, 255, -9, -15, -11, "sleep", "sleep"]),
        }
    )


CASES = st.fixed_dictionaries(
    {
        "ranks": st.lists(process(2), min_size=1, max_size=3),
        "signals": st.lists(st.sampled_from([2, 15, 1, 3, 10]), max_size=3),
        "kill": st.sampled_from(["", "", "launcher", "guardian"]),
        "preload": st.sampled_from([(), ("--preload", "colorsys")]),
        "pause": st.integers(0, 200),
    }
)
Case = dict[str, Any]


HOW_MANY = [8, pytest.param(60, marks=[pytest.mark.exhaustive, pytest.mark.timeout(600)])]


def check(property_of: Callable[[Case], None], cases: st.SearchStrategy[Case], how_many: int) -> None:
    """Hold a property against this many cases."""
    how = settings(max_examples=how_many, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    how(given(cases)(property_of))()


@pytest.mark.parametrize("how_many", HOW_MANY)
def test_nothing_survives_and_the_status_is_true(how_many: int) -> None:
    check(nothing_survives_and_the_status_is_true, CASES, how_many)


def nothing_survives_and_the_status_is_true(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "tree.py"
        script.write_text(TREE)
        mark = f"ACCEL_TEST_MARK={uuid.uuid4().hex}"
        environ = {
            **os.environ,
            "TREE": json.dumps(case["ranks"]),
            "RANK": "0",
            "ACCEL_TEST_MARK": mark.partition("=")[2],
        }
        count = len(case["ranks"])
        flags = ("-q", "--cpu", "--prefix", "--grace", "0.3", *case["preload"])
        running = start((*flags, "--num_processes", count, script), environ)
        try:
            _disturb(running, case)
            _out, err = running.communicate(timeout=30)
        finally:
            close(running)
    assert until(lambda: not marked(mark), 5), f"{marked(mark)} survive"
    assert "Traceback" not in err
    assert running.returncode in _allowed(case), err


def _disturb(running: subprocess.Popen[str], case: Case) -> None:
    """Once every rank is up, send the signals and kill what is to be killed."""
    assert running.stdout is not None
    for _rank in case["ranks"]:
        running.stdout.readline()
    time.sleep(case["pause"] / 1000)
    for number in case["signals"]:
        if running.poll() is None:
            running.send_signal(number)
    if case["kill"] == "launcher":
        running.kill()
    elif case["kill"] == "guardian" and running.poll() is None:
        between: list[str] = []
        with suppress(FileNotFoundError, ProcessLookupError):
            between += Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        for pid in between:
            with suppress(FileNotFoundError, ProcessLookupError):  # the signals may have ended it meanwhile
                if Path(f"/proc/{pid}/comm").read_text().startswith("accel-guardian"):
                    os.kill(int(pid), signal.SIGKILL)


def _allowed(case: Case) -> set[int]:
    """Every status that the contract allows: the order of the events isn't fixed."""
    ends: list[int] = [0 if rank["end"] == "sleep" else rank["end"] for rank in case["ranks"]]
    allowed = {128 - end if end < 0 else end for end in ends if end}
    if not allowed:
        allowed = {0}  # a run in which a rank fails is never 0
    allowed |= {-number for number in case["signals"] if number != signal.SIGUSR1}
    if signal.SIGUSR1 in case["signals"]:
        allowed.add(128 + signal.SIGUSR1)  # it ends a rank that doesn't handle it
    return allowed | {"launcher": {-9}, "guardian": {137}, "": set[int]()}[case["kill"]]


# What is imported once, and a rank: both short enough that something happens in each part of a start.
BRIEF = "import time\ntime.sleep(0.08)\n"
IMPORTED = "import os\nos.write(1, b'up\\n')\n" + BRIEF
MOMENTS = st.fixed_dictionaries(
    {
        "after": st.integers(0, 200),
        "what": st.sampled_from(["launcher", "guardian", "below", "signal", "signal"]),
        "number": st.sampled_from([signal.SIGTERM, signal.SIGINT, signal.SIGHUP]),
        "ranks": st.integers(2, 5),
    }
)


@pytest.mark.parametrize("how_many", HOW_MANY[1:])
def test_whatever_happens_while_ranks_are_forked(how_many: int) -> None:
    check(whatever_happens_while_ranks_are_forked, MOMENTS, how_many)


def whatever_happens_while_ranks_are_forked(case: Case) -> None:
    """A signal, or the death of any process, in the import, between the forks, or when the ranks are handed over."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "brief.py").write_text(IMPORTED)
        (Path(folder) / "rank.py").write_text(BRIEF)
        mark = f"ACCEL_TEST_MARK={uuid.uuid4().hex}"
        environ = {**os.environ, "ACCEL_TEST_MARK": mark.partition("=")[2]}
        flags = ("-q", "--cpu", "--grace", "0.3", "--preload", "brief", "--num_processes", case["ranks"])
        running = start((*flags, Path(folder) / "rank.py"), environ)
        try:
            assert running.stdout is not None
            running.stdout.readline()
            time.sleep(case["after"] / 1000)
            _strike(running, case["what"], case["number"])
            out, err = running.communicate(timeout=30)
        finally:
            close(running)
    assert until(lambda: not marked(mark), 5), f"{marked(mark)} survive"
    assert out == ""
    assert "accel_launch" not in err, "a traceback of ours"
    assert running.returncode in {
        0,
        {"launcher": -9, "guardian": 137, "below": 137}.get(case["what"], -case["number"]),
    }, err


def _strike(running: subprocess.Popen[str], what: str, number: int) -> None:
    """Send the launcher a signal, or kill it, the guardian, or the first process below that."""
    if what == "signal":
        running.send_signal(number)
    elif what == "launcher":
        running.kill()
    else:
        pid = _child(running.pid)
        victim = pid if what == "guardian" else _child(pid)
        with suppress(ProcessLookupError):  # it may have ended meanwhile
            if victim:
                os.kill(victim, signal.SIGKILL)


def _child(pid: int) -> int:
    """Return the first child of a process; 0 where there is none, or where the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    except (OSError, IndexError):
        return 0
