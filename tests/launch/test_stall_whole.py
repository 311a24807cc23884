"""A run over several machines stands still only as a whole: what launchers report to each other over loopback."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from accel_launch.inspecting.groups import Group
from accel_launch.inspecting.subject import Subject
from accel_launch.running.lifeline.hub.hub import Hub
from accel_launch.running.lifeline.link import LONGEST
from accel_launch.running.lifeline.member.member import Member
from accel_launch.running.lifeline.messages import FROM_MEMBER, Invalid, kind_of
from accel_launch.running.lifeline.watch import Watch
from accel_launch.running.onlookers.machines import whole_run
from accel_launch.running.onlookers.machines.parts import Part, as_message, from_message
from accel_launch.running.onlookers.machines.station import Station
from accel_launch.running.onlookers.machines.worker import Worker
from accel_launch.running.onlookers.stall.handle import StallWatch
from accel_launch.running.onlookers.stall.telling import Culprit, Stall
from tests.conftest import Run
from tests.launch.audience import Audience
from tests.launch.processes import Script, until
from tests.launch.test_lifeline import Machines

AFTER = 300.0
WAITS = "train.py:9 step > torch all_reduce, waiting"
Told = tuple[Stall, bool | None]


class Stations(Machines):
    """Three launchers with two ranks each. Their watchers, which would look at ranks, are played."""

    def __init__(self, **more: Any) -> None:
        """Start them, and connect them."""
        super().__init__(3, **more)
        self.told: dict[int, list[Told]] = {0: [], 1: [], 2: []}
        self.said: dict[int, list[str]] = {0: [], 1: [], 2: []}
        self.asked: dict[int, list[int]] = {0: [], 1: [], 2: []}
        self.places: dict[int, tuple[str, str]] = dict.fromkeys(range(6), ("waiting", WAITS))
        self.stations: dict[int, Station] = {}
        self.poller = select.poll()
        self.unread: dict[int, str] = {}
        """Why a machine can't read a stack."""
        self.hidden: dict[int, str] = {}
        """Why the stacks of a rank can't be read."""
        self.deaf: set[int] = set()
        """Machines whose launcher doesn't answer questions."""
        for machine in range(3):
            self.add(machine)

    def add(self, machine: int) -> None:
        """Start the launcher of a machine."""
        side = self.start(machine, watched=True)
        station = Station(AFTER, tuple, Audience(self.told[machine], self.said[machine]))
        station.join(cast("Watch", SimpleNamespace(side=side, line=side.line)))
        station.host, station.ask = f"host{machine}", partial(self.answer, machine)
        if station.whole is not None:
            station.whole.own = (machine, station.host)
        self.stations[machine] = station

    def answer(self, machine: int, number: int) -> None:
        """Answer a question as a watcher does."""
        self.asked[machine].append(number)
        if machine in self.deaf:
            return
        ranks = (2 * machine, 2 * machine + 1)
        groups = [
            Group((rank,), self.places[rank][1], self.places[rank][0] == "waiting", unread=self.hidden.get(rank, ""))
            for rank in ranks
        ]
        kinds = {rank: self.places[rank][0] for rank in ranks}
        unread = self.unread.get(machine, "")
        stall = Stall(time.time(), time.time() - AFTER, ranks, tuple(groups), kinds, unread=unread)
        processes = [[rank, rank % 2, 100 + rank] for rank in ranks]
        found = {"kind": "answer", "number": number, "stall": stall.as_json(), "processes": processes}
        self.stations[machine].found_here(json.loads(json.dumps(found)))

    def stands(self, machine: int, seconds: float = AFTER + 1) -> None:
        """Report that nothing moves on a machine."""
        self.stations[machine].found_here({"kind": "still", "seconds": seconds})

    def moves(self, machine: int, *, seen: bool = True) -> None:
        """Report that something moves on a machine again; not ``seen``: that its launcher was stopped."""
        self.stations[machine].found_here({"kind": "moves", "seconds": 1.0, "seen": seen})

    def until(self, true: Callable[[], bool], within: float = 5.0) -> bool:
        """Turn all launchers until something is true."""

        def once() -> bool:
            for machine, station in self.stations.items():
                if machine not in self.still:
                    station.step(self.poller, self.poller.poll(0))
            return true()

        return self.turn(once, within)

    def close(self) -> None:
        """End all."""
        for station in self.stations.values():
            station.close(self.poller)
        super().close()

    @property
    def printed(self) -> list[str]:
        """What the main machine has told, as it prints it."""
        return [stall.text() for stall, ends in self.told[0] if ends is None]

    @property
    def hub(self) -> Hub:
        """The main machine's side."""
        return cast("Hub", self.sides[0])


@pytest.fixture
def made() -> Iterator[list[Stations]]:
    found: list[Stations] = []
    yield found
    for one in found:
        one.close()


@pytest.fixture
def run(made: list[Stations]) -> Stations:
    made.append(Stations())
    assert made[0].all_here()
    return made[0]


def all_still(run: Stations) -> None:
    for machine in range(3):
        run.stands(machine)


def test_it_is_told_once_by_the_main_machine_with_the_odd_one_first(run: Stations) -> None:
    run.places[3] = ("still", "data.py:41 read_shard > read")
    all_still(run)
    assert run.until(lambda: bool(run.printed))
    head, odd, others = run.printed[0].splitlines()
    assert head.startswith("accel: standing still for 5 min, since ")
    assert odd == "  1 of 6 ranks (3) on machine 1 (host1): data.py:41 read_shard > read"
    machines = "machine 0 (host0), machine 1 (host1), machine 2 (host2)"
    assert others == f"  5 of 6 ranks (0-2, 4-5) on {machines}: {WAITS}"
    ((stall, _ends),) = run.told[0]
    assert (stall.odd, stall.culprit, stall.sure) == ((3,), 3, True)
    assert stall.at_fault == Culprit(1, "host1", 3, 1, 103)
    run.stations[0].broadcast(stall, ends=True)
    assert run.until(lambda: bool(run.told[1] and run.told[2]))
    for machine in (1, 2):
        ((theirs, ends),) = run.told[machine]
        assert (theirs.odd, theirs.groups, theirs.kinds, ends) == (stall.odd, stall.groups, stall.kinds, True)
        place = "rank 3 on machine 1 (host1): data.py:41 read_shard > read"
        assert run.said[machine] == [f"accel: standing still for 5 min: {place}; machine 0 (main) shows all ranks\n"]
    run.stations[0].broadcast(stall, ends=False)
    assert run.until(lambda: len(run.told[1]) == 2)
    assert len(run.said[1]) == 1  # it is the same standstill


def test_nothing_is_told_while_one_machine_moves(run: Stations) -> None:
    run.stands(0)
    run.stands(1)
    assert not run.until(lambda: bool(run.told[0]), 0.5)
    assert run.asked == {0: [], 1: [], 2: []}
    run.stands(2)
    run.moves(1)
    assert not run.until(lambda: bool(run.told[0]), 0.5)
    run.stands(1, seconds=AFTER - 0.5)  # the latest of the three counts
    assert not run.until(lambda: bool(run.told[0]), 0.3)
    assert run.until(lambda: bool(run.told[0]))
    assert 0 <= run.told[0][0][0].seconds - AFTER < 2


def test_a_machine_that_moves_when_it_is_asked_ends_the_question(
    run: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_run, "ANSWER", 0.3)
    run.deaf.add(1)
    run.stations[2].ask = lambda _number: run.moves(2)
    all_still(run)
    whole = run.stations[0].whole
    assert whole is not None
    assert run.until(lambda: bool(run.asked[1]) and 2 not in whole.still)
    run.deaf.clear()
    run.answer(1, run.asked[1][0])
    assert not run.until(lambda: bool(run.told[0]), 0.5)


def test_it_is_told_again_at_twice_the_time_and_that_the_run_moves_again(run: Stations) -> None:
    all_still(run)
    assert run.until(lambda: len(run.told[0]) == 1)
    all_still(run)  # as after a connection that was made again
    assert not run.until(lambda: len(run.told[0]) > 1, 0.3)
    for times in (2, 4, 8):
        for machine in range(3):
            run.stands(machine, AFTER * times + 1)
        assert run.until(lambda: run.told[0][-1][0].seconds >= AFTER * times)  # noqa: B023
        assert not run.until(lambda: run.told[0][-1][0].seconds >= AFTER * times * 2, 0.2)  # noqa: B023
    run.moves(1)
    assert run.until(lambda: bool(run.said[0]))
    assert run.said[0] == ["accel: the run moves again, after 40 min\n"]


@pytest.mark.parametrize("machine", [0, 1])
def test_a_stopped_launcher_begins_anew_and_moves_nothing(run: Stations, machine: int) -> None:
    whole = run.stations[0].whole
    assert whole is not None
    all_still(run)
    assert run.until(lambda: len(run.told[0]) == 1)
    run.moves(machine, seen=False)
    assert run.until(lambda: machine not in whole.still)
    if machine:
        link = cast("Member", run.sides[machine]).connection.link
        assert link is not None
        link.socket.shutdown(socket.SHUT_RDWR)  # a launcher that is stopped for long loses its connection
        assert run.until(lambda: cast("Member", run.sides[machine]).connection.ready not in {None, link}, 20)
    run.stands(machine, AFTER + 1)
    assert run.until(lambda: len(run.told[0]) == 2)  # after once the time, not twice
    assert run.said[0] == []


def test_a_mismatch_is_one_across_machines(run: Stations) -> None:
    run.places[4] = run.places[5] = ("waiting", "train.py:12 other > torch barrier, waiting")
    all_still(run)
    assert run.until(lambda: bool(run.printed))
    head, odd, _others = run.printed[0].splitlines()
    assert head.endswith(": the ranks wait in different collectives")
    assert odd == "  2 of 6 ranks (4-5) on machine 2 (host2): train.py:12 other > torch barrier, waiting"


def test_ranks_that_only_go_round_in_loops_are_no_standstill(run: Stations) -> None:
    run.places.update({rank: ("looping", f"train.py:{rank} spin") for rank in range(6)})
    all_still(run)
    assert not run.until(lambda: bool(run.told[0]), 0.5)


def test_one_that_loops_while_other_machines_wait_for_it_is_told(run: Stations) -> None:
    run.places[0] = ("looping", "train.py:3 spin, running")
    all_still(run)
    assert run.until(lambda: bool(run.printed))
    line = "  1 of 6 ranks (0) on machine 0 (host0): train.py:3 spin, running, always at the same lines"
    assert run.printed[0].splitlines()[1] == line


@pytest.mark.parametrize("odd", [False, True])
def test_who_does_not_answer_is_named_and_the_run_ended_only_for_a_rank_that_was_seen(
    run: Stations, monkeypatch: pytest.MonkeyPatch, odd: bool
) -> None:
    monkeypatch.setattr(whole_run, "ANSWER", 0.3)
    if odd:
        run.places[1] = ("still", "data.py:41 read")
    run.deaf.add(2)
    all_still(run)
    assert run.until(lambda: bool(run.printed))
    assert run.printed[0].splitlines()[-1] == "  not asked: machine 2 (host2): its launcher doesn't answer"
    assert run.told[0][0][0].ranks == (0, 1, 2, 3)
    assert run.told[0][0][0].sure == odd


def test_a_rank_of_another_machine_that_cannot_be_read_does_not_end_the_run(run: Stations) -> None:
    run.places[3], run.unread[1] = ("still", "running"), "no right"
    all_still(run)
    assert run.until(lambda: bool(run.printed))
    assert "as ranks run whose stacks can't be read: no right" in run.printed[0]
    assert not run.told[0][0][0].sure
    run.stations[0].broadcast(run.told[0][0][0], ends=False)
    assert run.until(lambda: bool(run.told[2]))
    assert run.told[2][0][0].unread == "no right"


def test_why_a_stack_of_another_machine_cannot_be_read_is_said(run: Stations) -> None:
    run.places[3], run.hidden[3] = ("unread", "futex, blocked in the kernel (S)"), "py-spy isn't installed"
    all_still(run)
    assert run.until(lambda: bool(run.printed))
    assert run.printed[0].splitlines()[-1] == "  stacks can't be read on machine 1 (host1): py-spy isn't installed"
    assert run.told[0][0][0].sure
    run.stations[0].broadcast(run.told[0][0][0], ends=False)
    assert run.until(lambda: bool(run.told[2]))
    assert [group.unread for group in run.told[2][0][0].groups if 3 in group.ranks] == ["py-spy isn't installed"]


def test_a_launcher_that_says_nothing_at_all_is_not_waited_for(run: Stations) -> None:
    run.stands(0)
    run.stands(1)
    run.still.add(2)
    assert not run.until(lambda: bool(run.printed), 0.3)
    run.hub.line = run.hub.line.replace(timeout=600)  # so that it isn't a lost machine yet
    run.hub.roster.present[2].received -= 6
    run.stands(1)
    assert run.until(lambda: bool(run.printed))
    assert "not asked: machine 2 (host2): its launcher doesn't answer" in run.printed[0]


def test_an_older_version_is_named_and_hears_nothing_new(
    made: list[Stations], monkeypatch: pytest.MonkeyPatch
) -> None:
    made.append(run := Stations())
    assert run.all_here()
    run.hub.roster.present[2].link.answers = False
    member = cast("Member", run.sides[2])
    link = member.connection.ready
    assert link is not None
    link.answers = False
    all_still(run)
    assert run.until(lambda: bool(run.printed))
    assert "not asked: machine 2 (host2): its launcher is of an older version" in run.printed[0]
    run.stations[0].broadcast(run.told[0][0][0], ends=False)
    assert run.until(lambda: bool(run.told[1]))
    assert not run.told[2]
    assert not any("isn't valid" in note for side in run.sides.values() for note in side.notes)


def test_a_machine_that_is_not_watched_is_named(run: Stations) -> None:
    run.hub.roster.present[1].link.watches = False
    run.stands(0)
    run.stands(2)
    assert run.until(lambda: bool(run.printed))
    assert "not asked: machine 1 (host1): it isn't watched (stall_after 0 there)" in run.printed[0]


def test_a_machine_whose_ranks_have_ended_is_not_waited_for(run: Stations) -> None:
    run.sides[1].over(None)
    assert run.until(lambda: 1 in run.hub.roster.finished)
    run.stands(0)
    run.stands(2)
    assert run.until(lambda: bool(run.printed))
    assert run.printed[0].splitlines()[-1] == "  not asked: machine 1 (host1): its ranks have ended"
    assert run.told[0][0][0].sure


def test_a_machine_that_comes_again_reports_again(run: Stations) -> None:
    run.stands(1)
    member = cast("Member", run.sides[1])
    whole = run.stations[0].whole
    assert whole is not None
    assert run.until(lambda: 1 in whole.still)
    whole.still.clear()
    link = member.connection.ready
    assert link is not None
    link.open = False
    assert run.until(lambda: 1 in whole.still)


def test_all_machines_are_asked_for_stacks_and_the_missing_named(
    run: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accel_launch.running.onlookers.machines.gathering.ANSWER", 1.5)
    run.still.add(2)
    with subprocess.Popen(["sleep", "100"]) as process:
        for station in run.stations.values():
            if station.another is not None:
                station.another.worker.subjects = lambda: [
                    Subject(2, 0, process.pid),
                    Subject(3, 1, 1, "exit status 0"),
                ]
        found = run.stations[0].gather()
        assert found is not None
        reader, file = os.dup(found.reader), os.dup(found.file)  # what a fork would have
        gathering = run.stations[0].gathering
        assert gathering is not None
        assert run.until(lambda: not gathering.rounds)
        process.kill()
    found.reader, found.file = reader, file
    heard = found.read()
    os.close(reader)
    os.close(file)
    assert heard["unasked"] == ["machine 2 (host2): its launcher doesn't answer"]
    ((machine, parts),) = [(one["machine"], from_message(one["groups"])) for one in heard["machines"]]
    assert machine == 1
    assert {part.group.ranks: part.group.doing for part in parts} == {(2,): "sleep", (3,): "ended: exit status 0"}


def test_a_look_that_takes_too_long_is_given_up_and_questions_are_bounded() -> None:
    answers: list[int] = []
    worker = Worker(lambda: time.sleep(100) or (), lambda number, _groups: answers.append(number))
    for number in range(100):
        worker.ask(number)
    assert worker.numbers == [96, 97, 98, 99]
    poller = select.poll()
    worker.step(poller, [])
    pid, worker.until = worker.pid, 0.0
    worker.step(poller, [])
    assert (worker.pid, worker.numbers, answers) == (0, [], [])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# Messages.


def parts(count: int, doing: str = "train.py:{} f") -> list[Part]:
    return [
        Part(Group((2 * n,), doing.format(n)), "still" if n == count - 1 else "waiting", n, n) for n in range(count)
    ]


@pytest.mark.parametrize("doing", ["train.py:{} f", "\x1b[2J{}" + "\N{GRINNING FACE}" * 999])
def test_groups_are_few_kilobytes_and_no_rank_is_lost(doing: str) -> None:
    sent = as_message(parts(100, doing))
    text = json.dumps({"kind": "groups", "number": 1, "groups": sent}, ensure_ascii=False)
    assert len(text.encode()) < LONGEST
    message = json.loads(text)
    assert kind_of(FROM_MEMBER, message) == "groups"
    found = from_message(message["groups"])
    assert {rank for part in found for rank in part.group.ranks} == set(range(0, 200, 2))
    assert found[-1].group.doing == "elsewhere"
    assert found[-1].kind == "still"  # the one to look at doesn't vanish among those that wait


GROUP = as_message(parts(1))[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ranks": []},
        {"ranks": [[3, 1]]},
        {"ranks": [[0, 2**31 - 1]]},  # it would be so many numbers
        {"ranks": [[0, 1]] * 129},
        {"ranks": [[0]]},
        {"ranks": [["0", "1"]]},
        {"ranks": {"0": 1}},
        {"doing": "\x1b[2J"},
        {"doing": "x" * 201},
        {"kind": "other"},
        {"kind": ["still"]},
        {"operations": ["a", "b", "c"]},
        {"operations": [1]},
        {"pid": -1},
        {"waits": 1},
        {"unread": 1},
        {"more": 1},
    ],
)
def test_what_no_launcher_sends_of_its_ranks_is_no_message(wrong: dict[str, Any]) -> None:
    good = {"kind": "groups", "number": 1, "groups": [GROUP]}
    assert kind_of(FROM_MEMBER, dict(good)) == "groups"
    with pytest.raises(Invalid):
        kind_of(FROM_MEMBER, {**good, "groups": [{**GROUP, **wrong}]})
    with pytest.raises(Invalid):
        kind_of(FROM_MEMBER, {**good, "groups": [GROUP] * 19})


# A launcher that only knows of its own ranks.


def test_a_launcher_without_a_lifeline_says_what_it_does_not_know(
    accelerate: Run, script: Script, environ: dict[str, str]
) -> None:
    for name, number in {"SIZE": 2, "RANK": 0, "LOCAL_RANK": 0, "LOCAL_SIZE": 2}.items():
        environ[f"OMPI_COMM_WORLD_{name}"] = str(number)
    flags = ("--cpu", "--stall_after", "1.5", "--stall_action", "end", "--grace", "1")
    done = accelerate("launch", *flags, script("import time\ntime.sleep(1000)\n"), env=environ)
    assert done.returncode == 124, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("  ")]
    assert lines[0] == "  1 of 1 rank (0): script1.py:2 <module> > sleep"
    assert lines[1] == "  not asked: ranks of other launchers: no lifeline connects them"
    assert "--all_threads shows more" in lines[2]


# The watcher of a machine.

LOOPS = "def spin():\n    while True:\n        pass\nspin()\n"


def watched(subjects: list[Subject], within: float = 20.0) -> dict[str, Any]:
    """Return the answer of a machine's real watcher, once it has reported that nothing moves."""
    found: list[Any] = []
    poller = select.poll()
    watch = StallWatch(1.0, lambda: subjects, None, Audience([], []), found.append)
    try:

        def heard(kind: str) -> bool:
            watch.step(poller, poller.poll(50))
            return any(each["kind"] == kind for each in found)

        assert until(lambda: heard("still"), within), found
        watch.ask(7)
        assert until(lambda: heard("answer"), within), found
    finally:
        watch.end(poller)
    assert found[0]["kind"] == "still"
    assert found[0]["seconds"] >= 1.0
    return next(each for each in found if each["kind"] == "answer")


@pytest.mark.exhaustive
def test_a_machine_whose_one_rank_loops_reports_it_to_the_others() -> None:
    """Alone it computes, as far as its launcher can know; others may wait for it."""
    with subprocess.Popen([sys.executable, "-c", LOOPS]) as process:
        try:
            answer = watched([Subject(4, 0, process.pid)])
        finally:
            process.kill()
    assert (answer["number"], answer["processes"]) == (7, [[4, 0, process.pid]])
    assert answer["stall"]["kinds"] == {"4": "looping"}


def test_a_machine_whose_ranks_have_ended_reports_it_to_the_others() -> None:
    answer = watched([Subject(4, 0, 2**22 - 1, "exit status 0")])
    assert answer["stall"]["kinds"] == {"4": "ended"}


def test_a_machine_that_moves_again_says_so_when_it_is_asked() -> None:
    text = "import sys, time\nsys.stdin.readline()\nwhile True: time.sleep(0.01)\n"
    with subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE) as process:
        found: list[Any] = []
        poller = select.poll()
        subjects = [Subject(0, 0, process.pid)]
        watch = StallWatch(1.0, lambda: subjects, None, Audience([], []), found.append)

        def heard(kind: str) -> bool:
            watch.step(poller, poller.poll(50))
            return any(each["kind"] == kind for each in found)

        try:
            assert until(lambda: heard("still"), 20), found
            watch.printed()
            time.sleep(0.2)
            watch.ask(8)
            assert until(lambda: heard("moves"), 20), found
        finally:
            watch.end(poller)
            process.kill()
    assert not any(each["kind"] == "answer" for each in found)
