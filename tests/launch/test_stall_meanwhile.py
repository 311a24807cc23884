"""What shows at the last moment that a run doesn't stand still, and what else of a rank gets on while it waits."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

from accel_launch.inspecting import kernel, snapshot
from accel_launch.inspecting.groups import AWAITED, grouped
from accel_launch.inspecting.kernel import Facts
from accel_launch.inspecting.places import Place, locate
from accel_launch.inspecting.snapshot import Process, RankStack, Snapshot
from accel_launch.inspecting.subject import Subject
from accel_launch.inspecting.threads import Frame, Thread
from accel_launch.running.onlookers.stall import watcher
from accel_launch.running.onlookers.stall.activity import Activity
from accel_launch.running.onlookers.stall.moments import Hearing, Moments
from accel_launch.running.onlookers.stall.telling import Stall
from accel_launch.running.onlookers.stall.verdict import Verdict, judge, kind
from accel_launch.running.onlookers.stall.window import Window
from tests.conftest import Run, needs_torch
from tests.launch.audience import Audience
from tests.launch.processes import Script, Start
from tests.launch.test_stall_doubts import WAITS, look
from tests.launch.test_stall_steps import Played

STANDS = Stall(2.0, 1.0, (0,), (), {0: "still"})
N2 = ("-q", "--cpu", "--num_processes", "2", "--grace", "1")
ENDS = ("--stall_after", "2", "--stall_action", "end")


def told(kind: str, **more: Any) -> bytes:
    return json.dumps({"kind": kind, **more}).encode() + b"\n"


def standstill(moved: float) -> bytes:
    return told("stall", stall=STANDS.as_json(), stacks=[], moved=moved)


def test_a_standstill_after_which_something_was_printed_is_none() -> None:
    """The watcher may not have noticed it before it told, and the launcher not before the watcher did."""
    output, stalls, said = [5.0], list[tuple[Stall, bool | None]](), list[str]()
    heard = Hearing(lambda: output[0], Audience(stalls, said))
    heard.add(standstill(5.0))
    output[0] = 6.0  # what was in a pipe is read before the next turn
    heard.step()
    heard.add(told("moves", seconds=1.0, seen=True))
    heard.step()
    assert (stalls, said) == ([], [])
    heard.add(standstill(6.0) + standstill(5.5))
    heard.step()
    heard.add(told("moves", seconds=1.0, seen=True))
    heard.step()
    assert (len(stalls), said) == (1, ["accel: the run moves again, after 0 s\n"])


def test_elsewhere_it_is_known_that_it_has_moved() -> None:
    found = list[Any]()
    heard = Hearing(lambda: 6.0, Audience([], []), found.append)
    heard.add(told("answer", number=1, moved=5.0) + told("still", seconds=3.0, moved=7.0))
    heard.step()
    assert [(each["kind"], each.get("seen")) for each in found] == [("moves", True), ("still", None)]


def at(rank: int, place: Place | None, call: str = "futex") -> RankStack:
    """Return a rank at a place, or one that has ended."""
    if place is None:
        return RankStack(rank, rank, 10 + rank, None)
    frames = (Frame(place.function, place.file, place.line),)
    process = Process(
        Facts(10 + rank, "python", "S", 1.0, 1, call), (Thread(10 + rank, "Main", False, False, frames),)
    )
    return RankStack(rank, rank, 10 + rank, process, place)


@pytest.mark.parametrize(
    ("places", "moves"),
    [
        ([(5, 5)], False),
        ([(5, 6), (5, 5)], False),  # a line of its loop that wasn't seen before
        ([(5, 6)] * 3, True),
        ([(5, 6), (7, 5), (5, 8)], True),
        ([(5, None)] * 3, True),
    ],
)
def test_a_rank_that_is_elsewhere_when_it_is_to_be_told_has_got_on(
    monkeypatch: pytest.MonkeyPatch, places: list[tuple[int, int | None]], moves: bool
) -> None:
    played, lines = Played(monkeypatch), list[bytes]()
    stands = Place("/train.py", 5, "train")
    for rank in (0, 1):
        played.watcher.window.looks[rank] = [look(rank, "futex", place=stands)] * 4
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)  # pyright: ignore[reportUnknownLambdaType]

    def take(_ranks: Sequence[Subject], **_how: object) -> Snapshot:
        now = places.pop(0) if len(places) > 1 else places[0]
        seen = [None if line is None else Place("/train.py", line, "train") for line in now]
        return Snapshot(0.0, tuple(at(rank, place) for rank, place in enumerate(seen)))

    monkeypatch.setattr(snapshot, "take", take)
    monkeypatch.setattr(kernel, "again", lambda _path: "known")  # pyright: ignore[reportUnknownLambdaType]
    played.watcher.report = lines.append
    played.now += 400
    watcher._tell(played.watcher, played.watcher.subjects, Verdict({0: "still", 1: "still"}, {}))
    assert [json.loads(line)["kind"] for line in lines] == ([] if moves else ["stall"])
    assert (played.watcher.pace.told, played.watcher.pace.moved) == ((0, played.now) if moves else (1, 1000.0))


def test_while_nobody_reads_what_ranks_print_the_time_begins_anew() -> None:
    moments = Moments.shared()
    moments.output.set(5.0)
    assert moments.last_output() == 5.0
    moments.held.set(1.0)
    assert time.monotonic() - moments.last_output() < 1


def test_a_reader_that_pauses_ends_no_run(launched: Start, script: Script) -> None:
    """As ``less`` does, or Ctrl-S: the ranks wait for it as soon as a megabyte waits."""
    path = script("for n in range(3000): print(n, 'x' * 1000, flush=True)\nprint('done')\n")
    running = launched(*N2, *ENDS, path)
    assert running.stdout is not None
    assert running.stdout.readline()
    time.sleep(8)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")
    assert out.count("done") == 2


# Beside the main thread.


@pytest.mark.parametrize(
    ("aside", "free", "found"),
    [
        ([None] * 20, False, "waiting"),
        ([1] * 20, True, "computing"),
        ([1] * 20, False, "waiting"),  # a thread that goes round in the same place, under the lock
        (range(20), False, "computing"),
        ([1] * 9 + [None] * 11, True, "waiting"),
    ],
)
def test_what_computes_beside_a_rank_that_waits_gets_on(aside: Sequence[object], free: bool, found: str) -> None:
    looks = [look(0, "futex", place=WAITS).replace(busy=True, aside=one, free=free) for one in aside]
    assert kind(looks) == found


def test_only_threads_with_calls_that_do_not_wait_count(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = (Frame("serve", "/serve.py", 3),)
    inside = (Frame("all_reduce", "/lib/python3.11/site-packages/torch/distributed/distributed_c10d.py", 1), *frames)
    main = Thread(10, "Main", False, False, (Frame("train", "/train.py", 9),))

    def seen(threads: frozenset[int], *others: Thread, children: bool = False) -> tuple[object, bool]:
        process = Process(Facts(10, "python", "S", 1.0, 1, "futex"), (main, *others))
        stack = RankStack(0, 0, 10, process, WAITS)
        monkeypatch.setattr(snapshot, "take", lambda *_, **__: Snapshot(0.0, (stack,)))  # pyright: ignore[reportUnknownLambdaType]
        monkeypatch.setattr(kernel, "ran", lambda _pid: "same")  # pyright: ignore[reportUnknownLambdaType]
        window = Window(20)
        window.look([Subject(0, 0, 10)], {10: Activity(own=bool(threads), children=children, threads=threads)})
        last = window.looks[0][-1]
        return last.aside is not None, last.free

    assert seen(frozenset({11}), Thread(11, "", True, False, frames)) == (True, True)
    assert seen(frozenset({11}), Thread(11, "", True, True, frames)) == (True, False)
    assert seen(frozenset({10}), Thread(11, "", True, True, frames)) == (False, False)
    assert seen(frozenset({11}), Thread(11, "", True, False, inside)) == (False, False)
    assert seen(frozenset({11}), Thread(11, "", True, False, ())) == (False, False)
    assert seen(frozenset({11})) == (False, False)
    assert seen(frozenset(), children=True) == (True, True)


SERVES = """\
import os, threading, time
import torch.distributed as dist
import torch
dist.init_process_group("gloo")
END = time.monotonic() + 9
def serve():
    torch.set_num_threads(1)
    x = torch.ones(64, 64)
    while time.monotonic() < END:
        x = torch.tanh(x @ x.T / 64)
if os.environ["RANK"] == "0":
    threading.Thread(target=serve).start()
else:
    time.sleep(9)
dist.barrier()
"""


@needs_torch
@pytest.mark.exhaustive
def test_a_thread_that_serves_while_its_rank_waits_ends_no_run(accelerate: Run, script: Script) -> None:
    done = accelerate("launch", *N2, *ENDS, script(SERVES))
    assert (done.returncode, done.stderr) == (0, "")


API = "/venv/lib/python3.11/site-packages/torch/distributed/rpc/api.py"


def test_what_an_rpc_waits_for_is_in_a_thread_of_another_rank() -> None:
    waiting = (
        Frame("wait", "/usr/lib/python3.11/threading.py", 1),
        Frame("shutdown", API, 9),
        Frame("<module>", "/t.py", 7),
    )
    serving = (Frame("__enter__", "/usr/lib/python3.11/threading.py", 1), Frame("step", "/t.py", 2))
    asking = (Frame("rpc_sync", API, 5), Frame("train", "/t.py", 4))

    def rank(number: int, *stacks: tuple[Frame, ...]) -> RankStack:
        threads = tuple(Thread(10 * number + n, "", False, False, frames) for n, frames in enumerate(stacks))
        process = Process(Facts(10 * number, "python", "S", 1.0, 1, "futex"), threads)
        return RankStack(number, number, 10 * number, process, locate(stacks[0]))

    found = grouped([rank(1, waiting, serving), rank(2, asking)])
    assert [each.doing for each in found] == [
        "t.py:7 <module> > torch rpc.shutdown, waiting, thread: t.py:2 step > threading __enter__",
        "t.py:4 train > torch rpc.rpc_sync, waiting",
    ]
    stall = Stall(2.0, 1.0, (1, 2), found, {1: "waiting", 2: "waiting"})
    assert (stall.blameless, stall.as_json()["mismatch"]) == (AWAITED, False)


# One that wakes up with other variables.


@pytest.mark.parametrize(
    ("states", "found"),
    [
        (range(8), "pacing"),
        ([1] * 8, "still"),
        ([None] * 8, "still"),
        ([1, 2, 1, 2, 1, 2], "still"),
        ([1, 2, 3], "still"),
    ],
)
def test_a_rank_that_wakes_up_with_other_variables_each_time(states: Sequence[int | None], found: str) -> None:
    looks = {0: [look(0, "clock_nanosleep", state=state) for state in states], 1: [look(1, "futex", place=WAITS)] * 4}
    verdict = judge(looks)
    assert (verdict.kinds, verdict.odd, verdict.stalled) == ({0: found, 1: "waiting"}, (0,), True)
    stall = Stall(2.0, 1.0, (0, 1), (), verdict.kinds, verdict.odd)
    assert stall.sure == (found == "still")


def test_deadlines_of_a_library_are_no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a queue that is asked with a timeout; of an event loop everything else is in its own variables."""
    lib, ran = "/usr/lib/python3.11", iter(map(str, range(99)))
    number = iter(range(99))
    monkeypatch.setattr(kernel, "ran", lambda _pid: next(ran))  # pyright: ignore[reportUnknownLambdaType]

    def states(inner: str, *, busy: bool = False, own: bool = False) -> set[int | None]:
        def take(_ranks: object, *, variables: bool) -> Snapshot:
            changing = ((("deadline", str(next(number))),), ()) if variables else ((), ())
            mine, its = (changing[0], ()) if own else ((), changing[0])
            frames = (Frame("get", f"{lib}/{inner}", 3, its), Frame("train", "/train.py", 9, mine))
            facts = Facts(10, "python", "S", 1.0, 1, "futex")
            place = Place("/train.py", 9, "train")
            thread = Thread(10, "Main", False, False, frames)
            return Snapshot(0.0, (RankStack(0, 0, 10, Process(facts, (thread,)), place),))

        monkeypatch.setattr(snapshot, "take", take)
        window = Window(20)
        for _ in range(6):
            window.look([Subject(0, 0, 10)], {10: Activity(own=busy, children=False)})
        return {one.state for one in window.looks[0] if one.state is not None}

    assert len(states("queue.py")) == 1
    assert len(states("queue.py", own=True)) == 4
    assert len(states("asyncio/base_events.py")) == 4
    assert len(states("queue.py", busy=True)) > 4


def test_a_rank_that_wakes_up_is_judged_when_it_was_seen_often_enough() -> None:
    window, ranks = Window(20), [Subject(0, 0, 10)]
    for states, enough in (([None] * 3, True), ([None, None, 1], False), ([1, 2, 3], False), ([1, 2, 3, 4], True)):
        window.looks[0] = [look(0, "clock_nanosleep", state=state) for state in states]
        assert window.is_enough(ranks) == enough, states


PACED = """\
import os, time
END = time.monotonic() + 12
def step(n):
    time.sleep(0.05)
    return n + 1
def episode():
    n = 0
    while time.monotonic() < END:
        n = step(n)
episode()
"""


POLLS = """\
import queue
def load(batches):
    while True:
        try:
            return batches.get(timeout=0.1)
        except queue.Empty:
            pass
load(queue.Queue())
"""


def test_who_asks_a_queue_with_a_timeout_stands_still(accelerate: Run, script: Script) -> None:
    done = accelerate("launch", *N2, *ENDS, script(POLLS))
    assert done.returncode == 124
    assert "may only be slow" not in done.stderr


def test_a_loop_in_real_time_is_told_and_ends_no_run(accelerate: Run, script: Script) -> None:
    done = accelerate("launch", *N2, *ENDS, script(PACED))
    assert done.returncode == 0
    assert "standing still for" in done.stderr
    assert (
        "  at the same lines with other variables each time, and may only be slow, so this ends no run: ranks 0-1\n"
        in (done.stderr)
    )
