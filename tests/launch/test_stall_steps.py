"""Silent steps that take most of the time after which standing still is told: they are no standstill, a hang is."""

from __future__ import annotations

import json
import os
import socket
import time

import pytest

from accel_launch.inspecting import kernel
from accel_launch.inspecting.places import Place
from accel_launch.inspecting.snapshot import Process, RankStack, Snapshot
from accel_launch.inspecting.subject import Subject
from accel_launch.inspecting.threads import NO_PYTHON
from accel_launch.running.onlookers.stall import sockets, watcher
from accel_launch.running.onlookers.stall.activity import Meter, Wakes
from accel_launch.running.onlookers.stall.telling import Stall
from accel_launch.running.onlookers.stall.verdict import Look, Verdict, arrived
from accel_launch.running.onlookers.stall.watcher import Watcher
from accel_launch.running.onlookers.stall.window import Window
from tests.conftest import Run
from tests.launch.processes import Script


@pytest.mark.exhaustive
@pytest.mark.parametrize("wait", ["time.sleep(seconds)", "poll(time.monotonic() + seconds)"])
def test_long_steps_are_quiet_until_one_hangs(accelerate: Run, script: Script, wait: str) -> None:
    text = (
        "import time\ndef poll(end):\n    while time.monotonic() < end: time.sleep(0.2)\n"
        f"def load(seconds): {wait}\ndef train(seconds): {wait}\n"
        "for step in range(2):\n    load(20)\n    train(20)\nprint('hangs', time.time(), flush=True)\nload(1e6)\n"
    )
    flags = ("-q", "--cpu", "--num_processes", "2", "--grace", "1", "--stall_after", "30", "--stall_action", "end")
    done = accelerate("launch", *flags, script(text), timeout=240)
    assert done.returncode == 124, done.stderr
    assert done.stdout.count("hangs") == 2  # not before
    assert "the run moves again" not in done.stderr
    assert ": script1.py:" in done.stderr
    assert " load > " in done.stderr or " poll > " in done.stderr


@pytest.mark.parametrize(
    ("places", "at"),
    [
        ("bbbbbbbb", 0),
        ("aaaabbbb", 4),
        ("abbbbbbbbbbb", 1),
        ("abababab", 0),
        ("bbbbbbbbabbbbbbbbb", 0),  # a rare place of a loop
        ("aabbbbcccc", 6),
        ("aaaaaaaaab", 9),
        ("abcdefgh", 7),
        ("aaaaaaaabb", 8),
        ("b", 0),
    ],
)
def test_when_a_rank_came_where_it_is(places: str, at: float) -> None:
    assert arrived(looks(places)) == at


def looks(places: str) -> list[Look]:
    """Return looks at a rank, one a second, at these places."""
    stack = RankStack(0, 0, 10, None, Place())
    return [Look(stack, False, place, False, float(second)) for second, place in enumerate(places)]


class Played:
    """A watcher of two ranks of which the test says what they do; it looks every ten seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.ran, self.read = 1000.0, {10: "0", 11: "0"}, {10: 0, 11: 0}
        self.asked: list[int] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(kernel, "ran", self.ran.__getitem__)
        monkeypatch.setattr(kernel, "transferred", self.transferred)
        monkeypatch.setattr(kernel, "children", {10: list[int](), 11: []}.__getitem__)
        ranks = [Subject(0, 0, 10), Subject(1, 1, 11)]
        self.watcher = Watcher(300, ranks, None, lambda: 0.0, lambda _line: None)

    def transferred(self, pid: int) -> int:
        self.asked.append(pid)
        return self.read[pid]

    def stepped(self) -> bool:
        """Return whether a rank may have got on in the time that it wasn't looked at."""
        return watcher._stepped(self.watcher, self.watcher.subjects)

    def look(self, at: float, *ran: int) -> None:
        """Look at the counters, when these ranks have run since the look before."""
        self.now = 1000 + at
        for pid in ran:
            self.ran[pid] += "1"
        self.watcher.wakes.read([10, 11], self.now)


def test_a_rank_that_ran_before_the_first_look_and_never_since_has_got_on(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch)
    played.look(0)
    played.look(140, 10)
    played.watcher.window.began = 1255.0
    played.look(300)
    assert played.stepped()
    assert (played.watcher.pace.moved, played.watcher.pace.near) == (1140.0, True)
    played.look(310, 10)  # it only wakes up
    played.look(440)
    assert not played.stepped()


@pytest.mark.parametrize(
    "ran", [[(0, ()), (140, (10,)), (300, (10,))], [(0, ()), (10, (10, 11)), (300, ())], [(200, ()), (300, ())]]
)
def test_a_rank_that_only_wakes_up_has_not(
    monkeypatch: pytest.MonkeyPatch, ran: list[tuple[float, tuple[int, ...]]]
) -> None:
    """It runs again while it is looked at; or it did no more than what follows a movement; or it never ran."""
    played = Played(monkeypatch)
    played.watcher.window.began = 1255.0
    for at, pids in ran:
        played.look(at, *pids)
    assert not played.stepped()
    assert (played.watcher.pace.moved, played.watcher.pace.near) == (1000.0, False)


def test_a_rank_that_is_seen_elsewhere_than_before_has_got_on(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch)
    played.look(0)
    played.watcher.window.looks[1] = [look.replace(at=look.at + 1200) for look in looks("aaaabbbb")]
    played.watcher.window.looks[0] = looks("bb")
    played.watcher.sweeps.before[1] = looks("a")[0]
    assert played.stepped()
    assert played.watcher.pace.moved == 1204.0
    assert {rank: len(kept) for rank, kept in played.watcher.window.looks.items()} == {0: 1, 1: 4}
    played.watcher.window.know(played.watcher.sweeps.before)
    assert not played.stepped()  # it has come from there once


@pytest.mark.parametrize(
    ("operation", "at"),
    [("torch all_reduce", 1270.0), ("torch barrier", 1270.0), ("torch init_process_group", 1000.0)],
)
def test_a_rank_that_waits_in_a_collective_again_has_got_on(
    monkeypatch: pytest.MonkeyPatch, operation: str, at: float
) -> None:
    played = Played(monkeypatch)
    place = Place("/train.py", 9, "f", (operation,), collective=True)
    waits = looks("bbbb")[0]
    played.watcher.window.looks[1] = [waits.replace(stack=waits.stack.replace(place=place))]
    played.watcher.window.began = 1150.0
    for seconds in (0, 270, 300):
        played.look(seconds, *([11] if seconds == 270 else []))
    played.watcher.pace.looked = played.now
    assert played.stepped() == (at > 1000)
    assert played.watcher.pace.moved == at


@pytest.mark.parametrize(
    ("bytes_read", "moves"),
    [
        ([1700, 1700, 11500, 1700] * 5, False),  # what a heartbeat reads and writes, to a file now and then
        ([40000], True),
        ([9000] * 5, True),
        ([7000] * 20, False),
    ],
)
def test_bytes_come_in_bursts(monkeypatch: pytest.MonkeyPatch, bytes_read: list[int], moves: bool) -> None:
    played, meter = Played(monkeypatch), Meter(30)
    found = [meter.transfers([10])]
    for count in bytes_read:
        played.now += 1
        played.read[10] += count
        found.append(meter.transfers([10]))
    assert any(found) == moves


def test_what_a_connection_sends_counts_as_what_it_receives() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        connection, _address = server.accept()
        with connection:
            before = {inode: one.count for inode, one in sockets.connections().items()}
            client.sendall(bytes(100_000))
            received = 0
            while received < 100_000:
                received += len(connection.recv(1 << 20))
            both = [os.fstat(one.fileno()).st_ino for one in (client, connection)]
            deadline = time.monotonic() + 10
            grown = [0]
            while min(grown) < 100_000 and time.monotonic() < deadline:  # until the last of it is acknowledged
                after = {inode: one.count for inode, one in sockets.connections().items()}
                grown = [after[inode] - before[inode] for inode in both]
    assert min(grown) >= 100_000


def test_the_time_counts_from_the_last_output() -> None:
    assert Watcher(300, [], None, lambda: 970.0, lambda _line: None).pace.moved == 970.0


def test_one_that_goes_on_moving_has_not_settled() -> None:
    window = Window(20)
    window.looks = {0: looks("aaaabbbb"), 1: looks("abcdefgh"), 2: looks("aaaaaabbb")}
    assert window.settled([0, 2]) == 6
    assert window.settled([0, 1]) == 7
    window.looks[1] = looks("abababab")
    assert window.settled([0, 1]) == 0
    assert window.settled([]) == 0


def test_ranks_of_which_the_kernel_tells_nothing_may_always_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "ran", {10: ""}.__getitem__)
    wakes = Wakes()
    for at in (1.0, 2.0):
        wakes.read([10], at)
    assert wakes.since([10], 1.5) == {10}


def test_no_further_than_the_first_rank_that_reads_or_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    played, meter = Played(monkeypatch), Meter(300)
    assert not meter.transfers([10, 11])
    played.now, played.read[11] = 1010.0, 1 << 20
    assert meter.transfers([10, 11])
    played.now, played.read[11], played.asked = 1020.0, 2 << 20, []
    assert meter.transfers([10, 11])
    assert played.asked == [11]
    played.now, played.asked = 1030.0, []
    assert not meter.transfers([10, 11])
    assert played.asked == [11, 10]


@pytest.mark.parametrize(
    ("quiet", "slow", "pause"), [(0, False, 20), (30, True, 30), (40, True, 29), (65, False, 15), (75, False, 10)]
)
def test_a_calm_run_is_looked_at_more_seldom(
    monkeypatch: pytest.MonkeyPatch, quiet: float, slow: bool, pause: float
) -> None:
    """Until ten seconds before stacks are looked at, or before the time at which that would come if it is slow."""
    played = Played(monkeypatch)
    pace = played.watcher.pace
    played.watcher.sweeps.slow, played.now = slow, 1000 + quiet
    pace.looked = 0 if slow else played.now
    assert pace.pause == pace.tick if pause == 10 else pace.pause == pytest.approx(pause, abs=0.1)


def test_the_last_look_is_at_the_moment_at_which_there_is_something_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch)
    pace = played.watcher.pace
    for quiet, due in ((290, 300), (300, 315), (303, 318)):
        pace.looked = played.now = 1000 + quiet
        assert pace.due == 1000 + due
    pace.told = 1
    assert pace.due == 1303 + 30


def test_where_no_rank_does_anything_looks_are_few_until_late(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch)
    pace = played.watcher.pace
    pace.idle = True
    for quiet, pause in ((100, 20), (200, 20), (260, 15)):
        pace.looked = played.now = 1000 + quiet
        assert pace.pause == pause


def test_connections_of_both_families_are_listed() -> None:
    listed = sockets.connections()
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as server:
            server.bind((host, 0))
            server.listen()
            with socket.create_connection(server.getsockname()[:2]) as client:
                inode = os.fstat(client.fileno()).st_ino
                found = sockets.connections()[inode]
                assert found.ports == (client.getsockname()[1], server.getsockname()[1])
                assert inode not in listed


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_packets_of_both_families_are_counted(family: socket.AddressFamily, host: str) -> None:
    before = sockets.octets()
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
    ):
        client.sendall(bytes(50_000))
    assert sockets.octets() - before >= 50_000


STORE = 29500


@pytest.mark.parametrize(
    ("ports", "owners", "bytes_sent", "exchanges"),
    [
        ((5000, 6000), {1: 10, 2: 11}, 100, True),  # a small collective
        ((5000, 6000), {1: 10, 2: 11}, 20, False),  # a sign of life
        ((5000, STORE), {1: 10, 2: 11}, 40_000, False),  # one asks torch's store again and again
        ((5000, STORE), {1: 10, 2: 11}, 400_000, True),
        ((5000, 6000), {1: 10, 2: 10}, 40_000, False),  # within one rank
        ((5000, 6000), {1: 10}, 40_000, False),  # with another program
        ((5000, 6000), {1: 10}, 400_000, True),  # a download
        ((5000, 6000), {}, 400_000, False),  # of others
    ],
)
def test_what_passes_between_ranks_counts_and_little_else(
    monkeypatch: pytest.MonkeyPatch, ports: tuple[int, int], owners: dict[int, int], bytes_sent: int, exchanges: bool
) -> None:
    played, meter = Played(monkeypatch), Meter(300, STORE)
    octets, listed = [0, bytes_sent, bytes_sent, 2 * bytes_sent], list[float]()
    here, there = ((b"1", port) for port in ports)

    def connections() -> dict[int, sockets.Connection]:
        listed.append(played.now)
        return {1: sockets.Connection(octets[0], here, there), 2: sockets.Connection(octets[0], there, here)}

    own = {pid: {inode for inode, owner in owners.items() if owner == pid} for pid in (10, 11)}
    monkeypatch.setattr(sockets, "octets", lambda: octets[0])
    monkeypatch.setattr(sockets, "connections", connections)
    monkeypatch.setattr(sockets, "inodes", own.__getitem__)
    found: list[bool] = []
    for _ in range(4):
        played.now += 10
        found.append(meter.exchanges([10, 11]))
        octets.append(octets.pop(0))
    assert found == [False, exchanges, False, exchanges]
    assert listed == [1010.0, 1020.0, 1040.0]  # not where no packet has passed
    played.now += 10
    octets[0] += bytes_sent
    assert not meter.exchanges([10, 11], played.now - 5)  # it may have passed before that


@pytest.mark.parametrize(
    ("burst", "every", "others", "least", "exchanges"),
    [
        (4_000, 3.0, 0, 0, False),  # a monitor
        (20_000, 3.0, 0, 1, True),
        (4_000, 0.3, 0, 1, True),  # a slow download
        (2_000, 0.3, 0, 1, False),
        (4_000, 0.3, 10_000, 1, True),  # others of this machine download faster, which it doesn't hide
        (2_000, 0.3, 10_000, 1, False),
        (100_000, 15.0, 0, 12, True),  # after a time in which no packet has passed
        (4_000, 15.0, 0, 12, False),
    ],
)
def test_bytes_are_counted_over_seconds_also_between_looks_that_are_closer(
    monkeypatch: pytest.MonkeyPatch, burst: int, every: float, others: int, least: float, exchanges: bool
) -> None:
    played, meter = Played(monkeypatch), Meter(5)
    begins, ends, foreign = (b"1", 5000), (b"2", 443), (b"3", 443)
    sent = {1: 0, 2: 0}
    monkeypatch.setattr(sockets, "octets", lambda: sum(sent.values()))
    monkeypatch.setattr(
        sockets,
        "connections",
        lambda: {
            1: sockets.Connection(sent[1], begins, ends),
            2: sockets.Connection(sent[2], begins, foreign),
        },
    )
    monkeypatch.setattr(sockets, "inodes", {10: {1}, 11: set[int]()}.__getitem__)
    began, found = played.now, list[float]()
    while played.now < began + 31:
        played.now += 0.17
        sent[1] = int((played.now - began) / every) * burst
        sent[2] += others
        if meter.exchanges([10, 11], began):
            found.append(played.now - began)
    assert bool(found) == exchanges
    assert all(at > least for at in found)
    if exchanges and every < 5:
        assert max(later - at for at, later in zip([0.0, *found], found, strict=False)) < 5


def test_a_connection_that_is_soon_done_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    played, meter = Played(monkeypatch), Meter(5)
    sent: list[int] = []
    monkeypatch.setattr(sockets, "octets", lambda: sum(sent) + len(sent))
    monkeypatch.setattr(
        sockets,
        "connections",
        lambda: {inode: sockets.Connection(count, (b"1", 5), (b"2", 6)) for inode, count in enumerate(sent)},
    )
    monkeypatch.setattr(sockets, "inodes", {10: {0}, 11: set[int]()}.__getitem__)
    assert not meter.exchanges([10, 11])
    sent.append(300)
    played.now += 0.2
    assert not meter.exchanges([10, 11])
    sent[0] += 20_000
    played.now += 0.2
    assert meter.exchanges([10, 11])


@pytest.mark.parametrize(("before", "exchanges"), [(True, False), (False, True)])
def test_bytes_that_passed_before_something_moved_do_not_count_after_it(
    monkeypatch: pytest.MonkeyPatch, before: bool, exchanges: bool
) -> None:
    played, meter = Played(monkeypatch), Meter(60)
    sent = [0]
    monkeypatch.setattr(sockets, "octets", lambda: sent[0])
    monkeypatch.setattr(sockets, "connections", lambda: {1: sockets.Connection(sent[0], (b"1", 5), (b"2", 6))})
    monkeypatch.setattr(sockets, "inodes", {10: {1}, 11: set[int]()}.__getitem__)
    assert not meter.exchanges([10, 11])
    played.now += 1
    moved = played.now + 1 if before else played.now - 1
    sent[0] += 30_000  # not enough yet for the four seconds over which they are taken
    assert not meter.exchanges([10, 11], moved - 2)
    played.now += 2
    assert not meter.exchanges([10, 11], moved)
    played.now += 1
    sent[0] += 5_000
    assert meter.exchanges([10, 11], moved) == exchanges


def test_a_rank_that_is_stopped_to_be_looked_at_has_not_got_on(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch)
    played.look(0)
    played.look(10)
    played.ran[10] += "1"
    played.now = 1020
    played.watcher.wakes.read([10, 11], played.now, disturbed=1015.0)
    assert played.watcher.wakes.since([10, 11], 1005.0) == set()
    played.look(30, 10)
    assert played.watcher.wakes.since([10, 11], 1025.0) == {10}


@pytest.mark.parametrize(("brief", "short", "computes"), [(0.0, 0.0, False), (5.0, 0.0, True), (0.0, 5.0, True)])
def test_threads_and_children_that_come_and_go_count(
    monkeypatch: pytest.MonkeyPatch, brief: float, short: float, computes: bool
) -> None:
    """Nothing is left of them but sums."""
    played, meter = Played(monkeypatch), Meter(300)
    counts = [(1.0, 0.0), (1.0 + brief, short)]
    monkeypatch.setattr(kernel, "used", lambda _: counts[0])  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr(kernel, "demand", {10: {10: (1.0, 0.0)}}.__getitem__)
    meter.read([10])
    played.now += 10
    del counts[0]
    found = meter.read([10])[10]
    assert (found.own, found.children) == (bool(brief), bool(short))
    assert found.computes == computes


@pytest.mark.parametrize(
    ("unread", "ran", "told"),
    [("no right", (10,), "no right"), ("no right", (), ""), (NO_PYTHON, (10,), ""), ("", (10,), "")],
)
def test_a_rank_that_runs_and_cannot_be_read_may_get_on(
    monkeypatch: pytest.MonkeyPatch, unread: str, ran: tuple[int, ...], told: str
) -> None:
    """So it ends no run."""
    played = Played(monkeypatch)
    played.look(0)
    played.watcher.window.began = 1255.0
    played.look(260, *ran)
    facts = kernel.Facts(pid=10, name="python", state="S", cpu=0.0, started=1)
    latest = Snapshot(0.0, (RankStack(0, 0, 10, Process(facts, unread=unread)), RankStack(1, 1, 11, None)))
    assert watcher._unread(played.watcher, latest) == told
    stall = Stall(at=2.0, since=1.0, ranks=(0,), groups=(), kinds={0: "still"}, unread=told)
    assert stall.sure == (not told)


@pytest.mark.parametrize(("late", "told"), [(1, ""), (2, "late")])
def test_a_sampler_that_is_late_once_may_try_again(monkeypatch: pytest.MonkeyPatch, late: int, told: str) -> None:
    played = Played(monkeypatch)
    played.look(0)
    played.watcher.window.began = 1255.0
    played.look(300, 10)
    facts = kernel.Facts(pid=10, name="python", state="S", cpu=0.0, started=1)
    answers = ["late"] * late + [""] * 2
    monkeypatch.setattr(
        "accel_launch.inspecting.snapshot.take",
        lambda _ranks, **_how: Snapshot(0.0, (RankStack(0, 0, 10, Process(facts, unread=answers.pop(0))),)),  # pyright: ignore[reportUnknownLambdaType]
    )
    lines: list[bytes] = []
    played.watcher.report = lines.append
    watcher._tell(played.watcher, played.watcher.subjects, Verdict({0: "still"}, {}))
    (found,) = map(json.loads, lines)
    assert found["stall"]["unread"] == told


def test_the_time_counts_from_the_end_of_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a run is ended in the moment in which a debugger lets go of it."""
    played, lines = Played(monkeypatch), list[bytes]()
    played.watcher.report, played.now = lines.append, 1400.0
    monkeypatch.setattr(kernel, "prompts", lambda _pid: False)  # pyright: ignore[reportUnknownLambdaType]
    for kind in ("paused", "still"):
        monkeypatch.setattr(watcher, "judge", lambda _looks, kind=kind: Verdict({0: kind, 1: "still"}, {}))  # pyright: ignore[reportUnknownLambdaType]
        played.watcher._decide(played.watcher.subjects)
    assert [json.loads(line)["kind"] for line in lines] == ["paused"]
    assert (played.watcher.pace.moved, played.watcher.paused) == (1400.0, ())
