"""What the launchers of several machines say to each other, over real sockets on the loopback."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pexpect
import pytest

from accel_launch import Plan
from accel_launch.running.lifeline import Lifeline, failures
from accel_launch.running.lifeline.hub import restarts
from accel_launch.running.lifeline.hub.hub import Hub
from accel_launch.running.lifeline.link import LONGEST, Broken, Link
from accel_launch.running.lifeline.member.member import Member
from accel_launch.running.lifeline.messages import FROM_HUB, FROM_MEMBER, Invalid, kind_of
from accel_launch.running.lifeline.remote_failure import RemoteFailure
from accel_launch.running.lifeline.waiting import Waiting
from accel_launch.running.report.records import Ending
from tests.conftest import BIN, needs_torch
from tests.launch.processes import Script, Start, until
from tests.launch.test_report import NOTHING

SECRET = b"between us"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def failure(machine: int, at: float, rank: int | None = 0, **more: Any) -> RemoteFailure:
    return RemoteFailure(machine, f"host{machine}", at, 1, "exit status 1", rank=rank, **more)


# A connection.


Pair = Callable[..., tuple[Link, Link]]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Make two ends of a connection that have greeted each other."""
    made: list[Link] = []

    def make(ours: bytes | None = SECRET, theirs: bytes | None = SECRET) -> tuple[Link, Link]:
        left, right = socket.socketpair()
        hub, member = Link(left, "hub", ours), Link(right, "member", theirs)
        made.extend((hub, member))
        hub.greet()
        member.greet()
        assert hub.receive() == member.receive() == []
        hub.proven = member.proven = True  # what a connection lets through afterwards is tested here
        return hub, member

    yield make
    for link in made:
        link.close()


@pytest.mark.parametrize("secret", [None, SECRET])
def test_what_is_said_is_heard_in_order(pair: Pair, secret: bytes | None) -> None:
    hub, member = pair(secret, secret)
    for number in range(100):
        hub.send(kind="beat", number=number)
    assert [message["number"] for message in member.receive()] == list(range(100))
    member.send(kind="over")
    assert hub.receive() == [{"kind": "over"}]


@pytest.mark.parametrize("other", [None, b"another"])
def test_another_secret_is_no_secret(pair: Pair, other: bytes | None) -> None:
    def talk() -> None:
        hub, member = pair(SECRET, other)
        member.send(kind="failed")
        hub.receive()

    with pytest.raises(Broken, match="secret"):
        talk()


@pytest.mark.parametrize("again", [False, True])
def test_a_message_is_neither_changed_nor_sent_again(pair: Pair, again: bool) -> None:
    hub, member = pair()
    member.send(kind="over")
    line = hub.socket.recv(1000)
    member.socket.send(line * 2 if again else line.replace(b"over", b"more"))
    with pytest.raises(Broken, match="secret"):
        hub.receive()


def test_a_message_is_not_turned_round(pair: Pair) -> None:
    hub, member = pair()
    hub.send(kind="end")
    member.socket.send(member.socket.recv(1000))
    with pytest.raises(Broken, match="secret"):
        hub.receive()


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\n\r\n", b"\xff\xfe\n", b"[1]\n", b"[" * 5000 + b"\n", b"9" * LONGEST * 2]
)
def test_strangers_are_broken_off(noise: bytes) -> None:
    left, right = socket.socketpair()
    with left, right:
        hub = Link(left, "hub", None)
        right.sendall(noise)
        with pytest.raises(Broken):
            hub.receive()


def test_a_side_that_takes_nothing_costs_no_memory(pair: Pair) -> None:
    hub, _member = pair()
    for _time in range(10000):
        hub.send(kind="beat", text="x" * 1000)
    assert len(hub.going) < LONGEST * 18
    assert not hub.open


BEAT = {"kind": "beat", "sent": 1.0, "again": None, "well": True}
FAILED: dict[str, Any] = {"kind": "failed", "failure": dict(failure(1, 1.0))}
HELLO = {
    "kind": "hello",
    "machine": 1,
    "machines": 2,
    "local": 1,
    "total": 2,
    "backend": "",
    "host": "h",
    "token": "t",
}


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "verdict"},
        {"kind": ["beat"]},
        {**BEAT, "sent": float("nan")},
        {**BEAT, "sent": 10**400},
        {**BEAT, "sent": 1e300},
        {**BEAT, "sent": True},
        {**BEAT, "sent": "1"},
        {**BEAT, "sent": {"sent": 1}},
        {**BEAT, "more": 1},
        {"kind": "failed", "failure": None},
        {"kind": "failed", "failure": []},
        *[
            {"kind": "over", "failure": {**FAILED["failure"], **wrong}}
            for wrong in (
                {"at": "now"},
                {"at": float("inf")},
                {"rank": []},
                {"rank": 2**70},
                {"status": 2**70},
                {"status": -1},
                {"machine": True},
                {"cause": "\x1b[2J"},
                {"host": "a\nb"},
                {"exception": "x" * 501},
                {"more": 1},
            )
        ],
        {**HELLO, "machine": 2**70},
        {**HELLO, "machine": 1.0},
        {**HELLO, "host": "\u202e"},
        {**HELLO, "total": -1},
        {**HELLO, "token": None},
    ],
)
def test_what_no_launcher_sends_is_no_message(message: dict[str, Any]) -> None:
    for good in (BEAT, FAILED, HELLO):
        assert kind_of(FROM_MEMBER, dict(good)) == good["kind"]
    with pytest.raises(Invalid):
        kind_of(FROM_MEMBER, message)


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "welcome", "host": "h", "missing": [1, 1]},
        {"kind": "welcome", "host": "h", "missing": [2**70]},
        {"kind": "welcome", "host": "h", "missing": None},
        {"kind": "beat", "missing": [[[]]]},
        {"kind": "end", "grace": float("nan")},
        {"kind": "end", "grace": -1},
        {"kind": "refused", "why": "\x1b]0;title\x07"},
        {"kind": "note", "text": ["x"]},
    ],
)
def test_nor_does_a_main_machine(message: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        kind_of(FROM_HUB, message)


def test_a_failure_is_sent_so_that_it_is_accepted_and_can_be_shown() -> None:
    sent = failure(1, 1.0, exception="\x1b[2J" + "\N{GRINNING FACE}" * 9999, where="\udcff", log="a\nb")
    found = RemoteFailure.read(json.loads(json.dumps(sent.message)))
    assert kind_of(FROM_MEMBER, {"kind": "failed", "failure": dict(found or sent)}) == "failed"
    assert found is not None
    assert found.exception.startswith(" [2J\N{GRINNING FACE}")
    assert len(found.exception) == 500
    left, right = socket.socketpair()
    with left, right:
        link = Link(left, "member", None)
        link.send(
            kind="failed",
            failure=failure(
                1, 1.0, **dict.fromkeys(("exception", "where", "log", "device"), "\N{GRINNING FACE}" * 500)
            ).message,
        )
        assert len(right.recv(LONGEST * 2)) < LONGEST


# Several machines.


class Machines:
    """The launchers of a run, turned by hand."""

    def __init__(self, count: int, least: int = 0, timeout: float = 3.0, secret: bytes | None = None) -> None:
        self.port, self.secret = free_port(), secret
        self.count, self.least, self.timeout = count, least or count, timeout
        self.sides: dict[int, Hub | Member] = {}
        self.still: set[int] = set()

    def line(self, machine: int, **more: Any) -> Lifeline:
        values: dict[str, Any] = {
            "run": "r",
            "timeout": self.timeout,
            "machines": self.count,
            "least": self.least,
            **more,
        }
        return Lifeline(address="127.0.0.1", meeting=1, port=self.port, machine=machine, **values)

    def start(self, machine: int, **more: Any) -> Hub | Member:
        line = self.line(machine, **more)
        made = Hub(line, "main", self.secret) if machine == 0 else Member(line, f"host{machine}", self.secret)
        self.sides[machine] = made
        return self.sides[machine]

    def turn(self, true: Callable[[], bool], within: float = 10.0) -> bool:
        """Turn all of them until something is true."""

        def once() -> bool:
            for machine, side in self.sides.items():
                if machine not in self.still:
                    poller = select.poll()
                    for fd, events in side.wants().items():
                        poller.register(fd, events)
                    side.handle(dict(poller.poll(5)))
                    side.tick()
            return true()

        return until(once, within)

    def close(self) -> None:
        """End all: the main one last, which waits for the others to have heard what it said."""
        for side in reversed(self.sides.values()):
            side.close()

    def all_here(self) -> bool:
        return self.turn(lambda: all(side.missing == () for side in self.sides.values()))


@pytest.fixture
def machines() -> Iterator[Callable[..., Machines]]:
    made: list[Machines] = []

    def make(count: int, **more: Any) -> Machines:
        made.append(Machines(count, **more))
        for machine in range(count):
            made[-1].start(machine)
        return made[-1]

    yield make
    for one in made:
        one.close()


LINE = Lifeline("127.0.0.1", 1, 2, 1, 2, 2, "r", backend="c10d", restarts=2)


def test_each_knows_who_is_missing(machines: Callable[..., Machines]) -> None:
    run = machines(3)
    late = run.sides.pop(2)
    assert run.turn(lambda: run.sides[0].missing == run.sides[1].missing == (2,))
    run.sides[2] = late
    assert run.all_here()


def test_who_comes_before_the_main_machine_listens_dials_again_soon() -> None:
    run = Machines(2, timeout=60)
    member = run.start(1)
    assert isinstance(member, Member)
    assert run.turn(lambda: member.connection.closed_port)
    run.start(0)
    began = time.monotonic()
    assert run.all_here()
    assert time.monotonic() - began < 0.7
    run.close()


@pytest.mark.parametrize("first", [0, 1, 2])
def test_the_earliest_failure_is_the_verdict_everywhere(machines: Callable[..., Machines], first: int) -> None:
    run = machines(3)
    assert run.all_here()
    now = time.time()
    for machine in (2, 1, 0):  # whatever order they are told in
        run.sides[machine].failed(failure(machine, now - (5 if machine == first else 1)))
    assert run.turn(lambda: all(side.ending for side in run.sides.values()))
    for side in run.sides.values():
        side.over(None if side is not run.sides[first] else failure(first, now - 5))
    assert run.turn(lambda: all(side.settled for side in run.sides.values()))
    assert [side.first.machine for side in run.sides.values() if side.first] == [first] * 3
    assert not any(side.lost for side in run.sides.values())


def test_a_clock_that_is_wrong_is_allowed_for(
    machines: Callable[..., Machines], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = machines(2)
    member = run.sides[1]
    assert isinstance(member, Member)
    real = time.time
    clock = type("Clock", (), {"time": staticmethod(lambda: real() - 3600), "monotonic": time.monotonic})
    for module in ("reports", "clock"):
        monkeypatch.setattr(f"accel_launch.running.lifeline.member.{module}.time", clock)
    assert run.turn(lambda: member.reports.clock.best < float("inf"))
    assert abs(member.reports.clock.offset - 3600) < 0.5
    member.ranks_ended(False, failure(1, real() - 3600))
    main = run.sides[0]
    assert isinstance(main, Hub)
    assert run.turn(lambda: 1 in main.restarts.pending)
    assert abs(main.restarts.pending[1].at - real()) < 5
    run.sides[0].failed(failure(0, real() - 1))
    member.failed(failure(1, real() - 3600))  # by its own clock an hour before, but really later
    for side in run.sides.values():
        side.over(None)
    assert run.turn(lambda: all(side.first is not None for side in run.sides.values()))
    assert {side.first.machine for side in run.sides.values() if side.first} == {0}


@pytest.mark.serial
@pytest.mark.parametrize("silent", [0, 1])
def test_a_silent_machine_is_dead_after_half_the_time(machines: Callable[..., Machines], silent: int) -> None:
    run = machines(3)
    assert run.all_here()
    run.still.add(silent)
    began = time.monotonic()
    others = [side for machine, side in run.sides.items() if machine != silent]
    assert run.turn(lambda: all(side.ending for side in others))
    assert 1.4 < time.monotonic() - began < 2.5
    assert all(side.lost for side in others)
    for side in others:
        side.over(None)
    assert run.turn(lambda: all(side.first is not None for side in others))
    assert all(side.first and f"machine {silent}" in side.first.cause for side in others)
    assert all(side.first and "silent for " in side.first.cause for side in others)


@pytest.mark.exhaustive
def test_a_silence_below_that_is_none(machines: Callable[..., Machines]) -> None:
    run = machines(3)
    assert run.all_here()
    for machine in (1, 0):
        run.still.add(machine)
        assert not run.turn(lambda: any(side.ending for side in run.sides.values()), 1.0)
        run.still.clear()
        assert not run.turn(lambda: any(side.ending for side in run.sides.values()), 0.5)


def test_a_connection_that_breaks_is_made_again(machines: Callable[..., Machines]) -> None:
    run = machines(2)
    assert run.all_here()
    member = run.sides[1]
    assert isinstance(member, Member)
    assert member.connection.link is not None
    member.connection.link.socket.shutdown(socket.SHUT_RDWR)
    assert run.turn(lambda: member.connection.link is None)
    assert run.turn(lambda: member.connection.link is not None and member.main.lost is None)
    assert not run.turn(lambda: any(side.ending for side in run.sides.values()), 1.0)


@pytest.mark.parametrize("known", [False, True])
def test_who_does_not_listen_is_lost_only_if_it_has(machines: Callable[..., Machines], known: bool) -> None:
    """Else its launcher can't be reached at all, which the run does without."""
    run = machines(2)
    hub, member = run.sides[0], run.sides[1]
    assert isinstance(hub, Hub)
    assert isinstance(member, Member)
    assert not known or run.all_here()
    member.started()
    run.still.add(0)
    hub.reception.entrance.close()
    while hub.roster.peers:
        hub.roster.peers.popitem()[1].link.close()
    assert run.turn(lambda: member.done, 5)
    assert (member.first is not None, len(member.notes)) == (known, not known)
    assert not known or "its launcher is gone" in (member.first or RemoteFailure(0, "", 0.0, 0, "")).cause


def test_a_machine_that_ended_well_is_not_missed(machines: Callable[..., Machines]) -> None:
    run = machines(2)
    assert run.all_here()
    run.sides[1].over(None)
    assert run.turn(lambda: run.sides[1].settled)
    run.sides.pop(1).close()
    assert not run.turn(lambda: run.sides[0].ending, 1.0)
    run.sides[0].over(None)
    assert run.sides[0].settled


@pytest.mark.exhaustive
def test_nor_is_it_when_it_then_says_nothing_more(machines: Callable[..., Machines]) -> None:
    run = machines(2)
    assert run.all_here()
    hub = run.sides[0]
    assert isinstance(hub, Hub)
    run.sides[1].over(None)
    assert run.turn(lambda: 1 in hub.roster.finished)
    run.still.add(1)
    assert not run.turn(lambda: hub.ending, 2.0)


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize(("finished", "failed"), [(0, 1), (2, 1), (2, 0)])
def test_a_restart_that_can_not_be_ends_the_run(
    machines: Callable[..., Machines], monkeypatch: pytest.MonkeyPatch, finished: int, failed: int, over: bool
) -> None:
    monkeypatch.setattr(restarts, "RESTART", 1.5)
    run = machines(3)
    assert run.all_here()
    run.sides[failed].ranks_ended(False, failure(failed and 9, time.time() - 1))  # who says so is known
    if over:
        run.sides[finished].over(None)
    else:
        run.sides[finished].ranks_ended(True, None)
    assert not run.turn(lambda: any(side.ending for side in run.sides.values()), 0.4)
    assert run.turn(lambda: all(side.ending for n, side in run.sides.items() if not (over and n == finished)))
    note = f"ranks can't be restarted, because those of machine {finished} have ended: the run ends"
    assert all(side.notes == [note] for n, side in run.sides.items() if not (over and n == finished))
    for n, side in run.sides.items():
        side.over(None if n != failed else failure(failed, time.time()))
    assert run.turn(lambda: all(side.first is not None for side in run.sides.values()))
    assert {side.first.machine for side in run.sides.values() if side.first} == {failed}


@pytest.mark.exhaustive
def test_restarts_and_ends_are_awaited(machines: Callable[..., Machines], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "RESTART", 0.6)
    run = machines(2)
    assert run.all_here()

    def ends(within: float) -> bool:
        return run.turn(lambda: any(side.ending for side in run.sides.values()), within)

    run.sides[0].ranks_ended(True, None)  # some machines end earlier than others
    assert not ends(0.8)
    for machine in (0, 1):
        run.sides[machine].ranks_ended(
            False, failure(machine, time.time())
        )  # all start again, one as late as it needs
    assert not ends(0.8)
    for _ in range(2):  # ranks that are ended for a restart may end well
        run.sides[0].ranks_ended(True, None)
        run.sides[1].ranks_ended(False, failure(1, time.time()))
        assert not ends(0.4)
        run.sides[0].ranks_ended(False, None)
        run.sides[1].ranks_ended(False, None)
        assert not ends(0.2)
    run.sides[0].ranks_ended(True, None)
    assert not ends(0.8)


@pytest.mark.parametrize(
    ("changed", "statuses", "alive", "well", "again"),
    [
        ({}, (0, 0), True, True, None),
        ({}, (0, 256), True, False, 4),
        ({}, (256,), True, False, None),  # the other one is still to be ended
        ({}, (0,), True, False, None),
        ({}, (), True, False, None),
        ({}, (0, 256), False, False, None),  # the agent has had enough
        ({"backend": "static"}, (0, 256), True, False, None),
        ({"restarts": 0}, (0, 256), True, False, None),
        ({"least": 1}, (0, 256), True, False, None),
    ],
)
def test_how_the_ranks_have_ended_is_told_while_they_may_start_again(
    changed: dict[str, Any], statuses: tuple[int, ...], alive: bool, well: bool, again: int | None
) -> None:
    line = LINE.replace(**changed)
    endings = tuple(
        Ending.from_wait_status(3 + place, place, 7, status, 1.0) for place, status in enumerate(statuses)
    )
    engine = None if alive else Ending(-1, -1, 6, 1, 0, 2.0)
    found = failures.standstill(
        Plan("torchrun", (), hosted=2, lifeline=line), NOTHING.replace(endings=endings, engine=engine)
    )
    assert (found[0], found[1] and found[1].rank) == (well, again)


@pytest.mark.parametrize("why", [{"signalled": 15}, {"reader_gone": True}])
def test_what_ends_a_launcher_counts_from_when_it_came(why: dict[str, Any]) -> None:
    """Else a rank elsewhere, whose peers are gone, would have failed first."""
    endings = (Ending(3, 0, 7, 143, 15, 100.2), Ending(4, 1, 8, 143, 15, 100.3))
    told = failures.final(
        Plan("torchrun", (), hosted=2, lifeline=LINE), NOTHING.replace(endings=endings, asked=100.0, **why)
    )
    assert told is not None
    assert (told.rank, told.at) == (None, 100.0)


def test_who_comes_again_and_again_is_told_once(machines: Callable[..., Machines]) -> None:
    run = machines(2)
    assert run.all_here()
    for place in (7, 8, 9):
        run.sides[place] = Member(run.line(1), "stranger", None)
    assert run.turn(lambda: all(isinstance(s, Member) and s.refused for p, s in run.sides.items() if p > 1))
    assert len(run.sides[0].notes) == 1


def test_an_elastic_run_goes_on_with_enough_machines(machines: Callable[..., Machines]) -> None:
    run = machines(3, least=2)
    assert run.all_here()
    run.sides.pop(2).close()
    assert not run.turn(lambda: run.sides[0].ending, 1.0)
    assert run.sides[0].notes == [
        "machine 2 (host host2) is lost (its launcher is gone); the run goes on with the others"
    ]
    run.sides.pop(1).close()
    assert run.turn(lambda: run.sides[0].ending)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"run": "other"}, "it is of another run than 'r'"),
        ({"machines": 9, "least": 9}, "it was started for 9 machines, and this run has 3"),
        ({"machine": 3}, "its machine_rank is 3, which must be from 1 to 2"),
        ({"machine": 1}, "machine 1 is here already (host host1)"),
    ],
)
@pytest.mark.parametrize("secret", [None, SECRET])
def test_who_does_not_belong_here_is_turned_away(
    machines: Callable[..., Machines], wrong: dict[str, Any], why: str, secret: bytes | None
) -> None:
    """Whoever may be a stranger learns neither the run's name nor its size."""
    run = machines(3, secret=secret)
    assert run.all_here()
    stranger = Member(run.line(2).replace(**wrong), "stranger", secret)
    run.sides[7] = stranger
    assert run.turn(lambda: bool(stranger.refused))
    assert (stranger.refused == why) == (secret is not None)
    if secret is None:
        assert not any(word in stranger.refused for word in ("'r'", "3 ", "from 1 to", "host1")) or "is 3" in why
    assert stranger.ending
    assert run.sides[0].notes == [f"refused a launcher at 127.0.0.1: {why}"]
    assert not run.sides[0].ending


@pytest.mark.parametrize(
    ("main", "others", "last", "why"),
    [
        ({}, {}, {"backend": "c10d"}, "its rdzv_backend is c10d, and this run's is static"),
        # Uneven machines: only with the last one it is known.
        ({"total": 6}, {"local": 3}, {"total": 6}, "expected 6 processes in total, got 7"),
        ({"total": 6}, {}, {"local": 1}, "expected 6 processes in total, got 5"),
        ({"total": 7}, {"local": 3}, {}, ""),
        ({}, {"local": 3}, {"total": 9}, ""),
        ({"total": 6}, {"total": 6}, {"total": 6}, ""),
        # As uneven machines are made without --nproc_per_node: a note, wherever it is noticed.
        ({"total": 6}, {"total": 6}, {"total": 3, "local": 1}, ""),
        ({"total": 6}, {"total": 3, "local": 1}, {"total": 6}, ""),
    ],
)
def test_all_are_started_for_the_same_run(
    main: dict[str, Any], others: dict[str, Any], last: dict[str, Any], why: str
) -> None:
    run = Machines(3)
    for machine, more in enumerate((main, others, last)):
        run.start(machine, **{"backend": "static", "local": 2, **more})
        if machine == 1:
            assert run.turn(lambda: run.sides[1].missing == (2,))
    member = run.sides[2]
    assert isinstance(member, Member)
    assert run.turn(lambda: bool(member.refused) or member.missing == ())
    assert member.refused == (
        why and ("the machines' processes don't add up to num_processes" if "got" in why else why)
    )
    assert why in "".join(run.sides[0].notes)
    assert ("was started for 3 processes in total, and this one for 6" in "".join(run.sides[0].notes)) == (
        3 in (others.get("total"), last.get("total"))
    )
    if why:  # it may come again, as it should be
        member.close()
        run.start(2, backend="static", local=main.get("total", 6) - 2 - others.get("local", 2))
    assert run.all_here()
    run.close()


def test_a_machine_that_comes_again_is_not_counted_twice() -> None:
    run = Machines(3)
    for machine, local in ((0, 2), (2, 3)):
        run.start(machine, total=6, local=local)
    first = run.sides.pop(2)
    assert isinstance(first, Member)
    run.sides[7] = first
    assert run.turn(lambda: first.missing == (1,))
    again = run.start(2, total=6, local=3)
    assert isinstance(again, Member)
    again.reports.token = first.reports.token
    assert run.turn(lambda: bool(again.refused) or again.missing == (1,))
    assert again.refused == ""
    run.close()


def test_a_kernel_without_version_6_listens_too(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def made(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, kind)

    line = Machines(2).line(0)
    with monkeypatch.context() as patch:
        patch.setattr("socket.socket", made)
        hub = Hub(line, "main", None)
    (listener,) = hub.reception.entrance.listeners
    assert listener.family == socket.AF_INET
    assert hub.notes == []
    hub.close()


def test_a_port_that_is_taken_is_a_note() -> None:
    run = Machines(2)
    with socket.create_server(("", run.port)):
        hub = Hub(run.line(0), "main", None)
    assert not hub.reception.entrance.listeners
    assert hub.notes[0].startswith(f"lifeline_port {run.port} can't be used (Address already in use)")
    assert hub.missing is None
    assert hub.settled


@pytest.mark.parametrize(
    ("machine", "missing", "least", "text"),
    [
        (0, (1, 3), 4, "waiting for machines 1, 3 (0 s): they should dial 127.0.0.1:1"),
        (2, (1,), 4, "waiting for machine 1 (0 s): it should dial 127.0.0.1:1"),
        (2, None, 4, "waiting for machine 0, the main one, at 127.0.0.1:1 (0 s)"),
        (0, None, 4, "waiting for the other machines (0 s): they should dial 127.0.0.1:1"),
        (0, (), 4, "all machines are here; waiting for their agents to meet at 127.0.0.1:1 (0 s)"),
        (0, (3,), 3, "enough machines are here (0 s); the agents wait a moment for machine 3"),
    ],
)
def test_the_line_says_who_is_absent(
    machine: int, missing: tuple[int, ...] | None, least: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = Machines(4, least=least).line(machine)
    waiting, shared = Waiting(line), Waiting(line.replace(shared=True))
    assert waiting.text(missing) == text
    waiting.due = shared.due = 0.0
    waiting.show(missing)
    assert capsys.readouterr().err == f"accel: {text}\n"
    shared.show(missing)
    assert bool(capsys.readouterr().err) == (machine == 0 or missing is None), "the main one's is enough"


# Launched.

FAILS = """
import os, time, traceback
import torch.distributed as dist
dist.init_process_group("gloo")
dist.barrier()
if os.environ["RANK"] == "1":
    try:
        raise ValueError("no good")
    except ValueError:
        traceback.print_exc()
        os._exit(1)  # gloo's threads now and then abort a process that leaves without having destroyed its group
time.sleep(60)
"""


@pytest.mark.exhaustive
@needs_torch
def test_a_failure_on_one_machine_ends_the_run_on_both(launched: Start, script: Script) -> None:
    path, port = script(FAILS), free_port()
    flags = ("--cpu", "--num_machines", 2, "--num_processes", 2, "--main_process_ip", "127.0.0.1")
    both = [launched(*flags, "--main_process_port", port, "--machine_rank", n, path) for n in (0, 1)]
    for popen in both:
        _out, err = popen.communicate(timeout=60)
        assert popen.returncode == 1, err
        assert "accel: rank 1 (machine 1, local rank 0, pid " in err, err
        assert f"  exception: ValueError: no good\n  at: {path}:8\n" in err


@needs_torch
@pytest.mark.exhaustive
def test_an_interrupt_while_waiting_ends_it(launched: Start, script: Script) -> None:
    flags = ("--cpu", "--num_machines", 2, "--num_processes", 2, "--main_process_ip", "127.0.0.1")
    popen = launched(*flags, "--main_process_port", free_port(), "--machine_rank", 1, script(FAILS))
    assert popen.stderr is not None
    assert "engine torchrun" in popen.stderr.readline()
    assert "waiting for machine 0, the main one" in popen.stderr.readline()
    os.kill(popen.pid, signal.SIGINT)
    assert popen.wait(30) == -signal.SIGINT


@pytest.mark.exhaustive
@needs_torch
def test_a_terminal_has_one_live_line(script: Script, environ: dict[str, str]) -> None:
    flags = (
        "--cpu",
        "--num_machines",
        "3",
        "--num_processes",
        "3",
        "--main_process_ip",
        "127.0.0.1",
        "--machine_rank",
        "0",
    )
    command = [str(BIN / "accelerate"), "launch", *flags, "--main_process_port", str(free_port()), str(script(FAILS))]
    child = pexpect.spawn(command[0], command[1:], env=environ, timeout=30, dimensions=(24, 60), encoding="utf-8")
    child.expect(r"\r\x1b\[Kaccel: waiting for machines 1-2 \(\d+ s\): they should")
    child.expect(r"\r\x1b\[Kaccel: waiting for machines 1-2 \(\d+ s\): they should")
    assert "\n" not in str(child.before)
    child.sendintr()
    child.expect(r"\r\x1b\[K")  # the line doesn't stay
    child.expect(pexpect.EOF)
    child.close()
    assert child.signalstatus == signal.SIGINT
