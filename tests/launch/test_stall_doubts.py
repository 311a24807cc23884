"""What isn't known for sure of a run that is quiet: loops that may get on, ranks without a stack, look-alikes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from accel_launch.inspecting import kernel, snapshot
from accel_launch.inspecting.groups import HIDDEN, grouped
from accel_launch.inspecting.kernel import Facts
from accel_launch.inspecting.places import Place
from accel_launch.inspecting.snapshot import Process, RankStack, Snapshot, take
from accel_launch.inspecting.subject import Subject
from accel_launch.inspecting.threads import NO_CALLS, Frame, Thread
from accel_launch.running.onlookers.stall import watcher
from accel_launch.running.onlookers.stall.activity import Activity
from accel_launch.running.onlookers.stall.telling import Stall
from accel_launch.running.onlookers.stall.verdict import Look, Verdict, judge, odd
from accel_launch.running.onlookers.stall.window import Window
from tests.conftest import Run
from tests.launch.processes import Script, until
from tests.launch.test_stall_steps import Played

LOOP = Place("/train.py", 5, "train")
LOCKED = """
import os, threading, time, types
rank = int(os.environ["RANK"])
lock = threading.Lock()
lock.acquire()
work = types.SimpleNamespace(wait=lock.acquire)
threading.Timer(7, lock.release).start()
"""


def look(rank: int, call: str = "", *, read: bool = True, place: Place = LOOP, state: int | None = None) -> Look:
    """Return a look at a rank in a call, or one that computes."""
    facts = Facts(10 + rank, "python", "S" if call else "R", 1.0, 1, call)
    frames = (Frame(place.function, "/train.py", place.line),)
    process = Process(facts, (Thread(10 + rank, "MainThread", False, False, frames),) if read else ())
    stack = RankStack(rank, rank, 10 + rank, process, place if read else Place())
    return Look(stack, not call, (place.line, call), not call, state=state)


WAITS = Place("/train.py", 9, "train", ("torch all_reduce",), collective=True)
STORE = Place("/train.py", 8, "train", ("torch store",), collective=True, certain=False)


@pytest.mark.parametrize(
    ("states", "kind"),
    [
        (range(40), "changing"),
        ([n % 19 for n in range(40)], "looping"),
        ([99, *(n % 6 for n in range(39))], "looping"),
        ([3] * 40, "looping"),
        ([n // 9 for n in range(40)], "changing"),
        ([n // 15 for n in range(40)], "looping"),
        ([n // 5 % 3 for n in range(40)], "looping"),
        ([None] * 40, "looping"),
    ],
)
def test_a_loop_whose_variables_change_may_get_on(states: list[int | None], kind: str) -> None:
    assert judge({0: [look(0, state=state) for state in states]}).kinds == {0: kind}


@pytest.mark.parametrize(
    ("function", "lines", "kind"), [("<module>", 4, "changing"), ("<module>", 3, "looping"), ("f", 4, "looping")]
)
def test_variables_of_no_function_are_not_seen(function: str, lines: int, kind: str) -> None:
    looks = [look(0, place=Place("/train.py", 5 + n % lines, function), state=3) for n in range(40)]
    assert judge({0: looks}).kinds == {0: kind}


def test_variables_are_compared_and_not_kept() -> None:
    code = "def f():\n    secret = 0\n    print(flush=True)\n    while True: secret += 1\nf()\n"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        window, rank = Window(20), Subject(0, 0, running.pid)
        window.look([rank], {running.pid: Activity(own=True, children=False)})
        running.kill()
    looks = window.looks[0]
    assert looks[0].state is None  # the first look is at all ranks, and reads as little as it can
    assert len({one.state for one in looks[1:]}) == len(looks) - 1 >= 4
    assert "secret" not in repr(window.read) + repr(looks)


@pytest.mark.parametrize(
    ("kinds", "doubtful", "blamed"),
    [
        ("changing waiting", True, None),
        ("changing still waiting", True, None),
        ("looping changing unread", True, None),
        ("changing computing", False, None),
        ("waiting waiting", False, ()),
        ("unread still waiting", False, (1,)),
        ("unread waiting waiting", False, (0,)),
        ("unread unread waiting", False, ()),
        ("unread unread still", False, (2,)),
        ("unread unread", False, ()),
    ],
)
def test_who_may_be_to_blame(kinds: str, doubtful: bool, blamed: tuple[int, ...] | None) -> None:
    verdict = Verdict(dict(enumerate(kinds.split())), {})
    assert (verdict.doubtful, verdict.stalled) == (doubtful, blamed is not None)
    assert blamed is None or odd(verdict.kinds) == blamed


@pytest.mark.parametrize(
    ("calls", "kinds"),
    [
        (["futex", "clock_nanosleep"], ["unread", "still"]),  # beside one that waits in a futex
        (["futex", "futex"], ["unread", "unread"]),
    ],
)
def test_a_rank_without_a_stack_may_call_what_those_call_that_wait(calls: list[str], kinds: list[str]) -> None:
    looks = {rank: [look(rank, call, read=False)] * 3 for rank, call in enumerate(calls)}
    assert list(judge({**looks, 2: [look(2, "futex", place=WAITS)] * 3}).kinds.values()) == [*kinds, "waiting"]


def test_without_any_stack_most_ranks_wait() -> None:
    calls = ["futex", "futex", "poll"]
    looks = {rank: [look(rank, call, read=False)] * 3 for rank, call in enumerate(calls)}
    assert list(judge(looks).kinds.values()) == ["unread", "unread", "still"]
    del looks[0]
    assert list(judge(looks).kinds.values()) == ["unread", "unread"]
    stacks = [one[-1].stack for one in looks.values()]
    groups = grouped(stacks)
    assert Stall(2.0, 1.0, (1, 2), groups, judge(looks).kinds, judge(looks).odd).blameless == HIDDEN


def test_who_waits_for_the_store_holds_up_those_in_a_collective() -> None:
    looks = {0: [look(0, "poll", place=STORE)] * 3, 1: [look(1, "futex", place=WAITS)] * 3}
    verdict = judge(looks)
    assert (verdict.kinds, verdict.odd) == ({0: "still", 1: "waiting"}, (0,))
    assert not verdict.places[0].collective
    del looks[1]
    assert judge(looks).kinds == {0: "waiting"}


def test_what_may_only_be_slow_is_said_once_and_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    played, lines = Played(monkeypatch), list[bytes]()
    played.watcher.report, watched = lines.append, played.watcher
    slow = Verdict({0: "changing", 1: "waiting"}, {0: LOOP})
    monkeypatch.setattr(watcher, "judge", lambda _looks: slow)  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr(kernel, "prompts", lambda _pid: False)  # pyright: ignore[reportUnknownLambdaType]
    for times in range(1, 7):
        played.now = 1000.0 + times * 300
        watched._decide(watched.subjects)
        assert (watched.pace.moved, watched.pace.doubted, watched.pace.told) == (played.now, 1000.0, 0)
    said = "rank 0 has computed at the same lines for 20 min, and may only be slow: train.py:5 train"
    assert [json.loads(line) for line in lines] == [{"kind": "line", "text": said}]
    slow = Verdict({0: "still", 1: "waiting"}, {})
    monkeypatch.setattr(watcher, "_latest", lambda *_: Snapshot(0.0, ()))  # pyright: ignore[reportUnknownLambdaType]
    watched._decide(watched.subjects)
    assert json.loads(lines[-1])["kind"] == "stall"
    slow = Verdict({0: "changing", 1: "waiting"}, {0: LOOP})
    watched._decide(watched.subjects)
    assert json.loads(lines[-1]) == {"kind": "moves", "seconds": 0.0, "seen": True}
    assert watched.pace.doubted == played.now
    watched.move(played.now)
    assert watched.pace.doubted == 0


def test_few_looks_show_that_a_rank_still_may_get_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, window = Played(monkeypatch).watcher.pace, Window(20)
    before = pace.begins
    pace.begin_anew(1000.0, 900.0)
    assert (before, pace.begins) == (90.0, 285.0)
    window.looks[0] = [look(0, state=state) for state in range(12)]
    assert window.is_enough([Subject(0, 0, 10)])
    window.looks[0] = [look(0, state=3)] * 12
    assert not window.is_enough([Subject(0, 0, 10)])


def test_an_evaluation_of_few_lines_ends_no_run(accelerate: Run, script: Script) -> None:
    text = (
        "import time\nEND = time.monotonic() + 7\n"
        + LOCKED
        + "def evaluate():\n    done = 0\n    while time.monotonic() < END:\n        done += 1\n"
        "evaluate() if rank == 0 else work.wait()\n"
    )
    done = accelerate(
        "launch", "-q", "--cpu", "--num_processes", "2", "--stall_after", "1", "--stall_action", "end", script(text)
    )
    assert (done.returncode, done.stderr.count("standing still")) == (0, 0)
    said = r"accel: rank 0 has computed at the same lines for \d s, and may only be slow: script1\.py:\d+ evaluate\n"
    assert re.fullmatch(said, done.stderr)


def test_a_rank_with_thousands_of_calls_has_no_stack_and_is_python() -> None:
    code = (
        "import sys, time\nsys.setrecursionlimit(20000)\nprint(flush=True)\n"
        "def f(n): return f(n - 1) if n else time.sleep(60)\nf(8000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        assert until(lambda: (facts := kernel.facts(running.pid)) is not None and facts.call == "clock_nanosleep")
        process = take([Subject(0, 0, running.pid)]).ranks[0].process
        running.kill()
    assert process is not None
    assert process.unread == NO_CALLS


@pytest.mark.parametrize(
    ("line", "call", "waits"),
    [
        ("work.wait()", "futex", True),
        ("work.wait()", "", True),
        ("camera.wait()", "pause", False),
        ("camera.wait()", "ioctl", False),
        ("work.wait() if work else barrier.wait()", "futex", True),
        ("self._store.get(key)", "poll", True),
        ("datastore.get(key)", "poll", False),
        ("feature_store.get(key)", "poll", False),
        ("datastore.get(store.get(key))", "poll", True),
    ],
)
def test_a_line_alone_shows_a_collective_only_in_a_call_that_waits(
    tmp_path: Any, line: str, call: str, waits: bool
) -> None:
    path = tmp_path / "train.py"
    path.write_text(f"{line}\n")
    thread = Thread(7, "MainThread", False, False, (Frame("f", str(path), 1),))
    place = snapshot.place_of(Process(Facts(7, "python", "S" if call else "R", 1.0, 1, call), (thread,)))
    assert place.collective == waits


def test_a_thread_that_holds_the_lock_is_in_the_line(tmp_path: Any) -> None:
    path = tmp_path / "train.py"
    path.write_text("lock.acquire()\ntime.sleep(1000)\n")
    main, other = (
        Thread(number, "", False, False, (Frame(name, str(path), line),))
        for number, name, line in ((7, "save", 1), (8, "flush", 2))
    )
    stack = RankStack(
        0, 0, 7, Process(Facts(7, "python", "S", 1.0, 1, "futex"), (main, other)), Place(str(path), 1, "save")
    )
    assert stack.doing == "train.py:1 save > a lock, thread: train.py:2 flush"
    asleep = Facts(7, "python", "S", 1.0, 1, "clock_nanosleep")
    assert stack.replace(process=Process(asleep, (main, other))).doing == "train.py:1 save > sleep"


FORKS = """
import os, subprocess, sys, time
def upload():
    child = os.fork()
    if not child:
        time.sleep(100)
    os.waitpid(child, 0)
def call():
    os.spawnvp(os.P_WAIT, "sh", ["sh", "-c", "read line; :"])
print(flush=True)
upload() if sys.argv[1] == "upload" else call()
"""


@pytest.mark.parametrize(
    ("how", "child"), [("upload", "child: train.py:6 upload > sleep"), ("call", "child: sh > read")]
)
def test_a_child_that_is_waited_for_is_in_the_line(tmp_path: Any, how: str, child: str) -> None:
    path = tmp_path / "train.py"
    path.write_text(FORKS)
    with subprocess.Popen(
        [sys.executable, path, how], stdout=subprocess.PIPE, stdin=subprocess.PIPE, start_new_session=True
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        found = [""]

        def named() -> bool:
            found[0] = take([Subject(0, 0, running.pid)], workers=True).ranks[0].doing
            return found[0].endswith(f" > a child process, {child}")

        assert until(named), found
        os.killpg(running.pid, 9)


def test_a_rank_whose_bytes_are_not_known_may_get_on(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch)
    played.look(0)
    played.watcher.window.began = 1255.0
    played.look(260)
    latest = Snapshot(0.0, (RankStack(0, 0, 10, Process(Facts(10, "python", "S", 0.0, 1), unread="no right")),))
    for readable in ("rchar: 1\n", ""):
        monkeypatch.setattr(kernel, "again", lambda _path, text=readable: text)  # pyright: ignore[reportUnknownLambdaType]
        assert watcher._unread(played.watcher, latest) == ("" if readable else "no right")
