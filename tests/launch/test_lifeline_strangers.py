"""What strangers and broken peers can do to the launchers of a run, over real sockets: nothing, or little."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from accel_launch import Plan, Result
from accel_launch.ranks.beacon import KEY as OF_MPIRUN
from accel_launch.running.lifeline import Lifeline
from accel_launch.running.lifeline import secret as secrets
from accel_launch.running.lifeline.hub import entrance, reception
from accel_launch.running.lifeline.hub.hub import Hub
from accel_launch.running.lifeline.link import PROTOCOL, Broken, Link
from accel_launch.running.lifeline.member import connection
from accel_launch.running.lifeline.member.member import Member
from accel_launch.running.lifeline.refusals import MOST
from accel_launch.running.lifeline.secret import Secret
from accel_launch.running.lifeline.watch import Watch
from tests.launch.processes import until
from tests.launch.test_lifeline import HELLO, SECRET, Machines, failure
from tests.launch.test_report import NOTHING
from tests.schedule import sampled


@pytest.fixture(params=[None, SECRET], ids=["open", "sealed"])
def run(request: pytest.FixtureRequest) -> Iterator[Machines]:
    """A main machine, and one that can come."""
    made = Machines(3, secret=request.param)
    made.start(0)
    yield made
    made.close()


def hub_of(run: Machines) -> Hub:
    hub = run.sides[0]
    assert isinstance(hub, Hub)
    return hub


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """Close all sockets that a test makes."""
    made: list[socket.socket] = []

    class Kept(socket.socket):
        def __init__(self, *words: Any, **more: Any) -> None:
            super().__init__(*words, **more)
            made.append(self)

    monkeypatch.setattr(socket, "socket", Kept)
    yield made
    for one in made:
        one.close()


def dialed(run: Machines) -> socket.socket:
    return socket.create_connection(("127.0.0.1", run.port), timeout=5)


def stranger(run: Machines, secret: bytes | None, role: str = "member") -> Link:
    """A connection with the hub that is as far as its keys."""
    link = Link(dialed(run), role, secret)
    link.greet()

    def agreed() -> bool:
        link.receive()
        return link.key is not None

    assert run.turn(agreed)
    return link


def closed(run: Machines, other: socket.socket) -> bool:
    """Whether the hub lets go of a connection."""
    other.setblocking(False)

    def over() -> bool:
        try:
            while other.recv(4096):
                pass
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    return run.turn(over)


# Places.


def crowd(run: Machines) -> list[socket.socket]:
    found: list[socket.socket] = []
    for n in range(200):
        found.append(dialed(run))
        if n % 50 == 0:
            run.turn(lambda: True)
    return found


def test_idle_strangers_keep_no_machine_out(run: Machines) -> None:
    idle = crowd(run)
    assert run.turn(lambda: len(hub_of(run).roster.peers) == entrance.FROM_ONE)
    for machine in (1, 2):
        run.start(machine)
    assert run.all_here()
    idle += crowd(run)
    assert run.turn(lambda: len(hub_of(run).roster.strangers) == entrance.FROM_ONE)
    assert not run.turn(lambda: any(side.ending for side in run.sides.values()), 0.5)
    assert len(hub_of(run).roster.present) == 2
    assert hub_of(run).notes == ["dropped a connection from 127.0.0.1: it said nothing, and others came"]


def test_strangers_of_many_addresses_keep_no_machine_out(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Machines(2)
    run.start(0)
    idle: list[socket.socket] = []
    for n in range(2, 250):
        idle.append(socket.socket())
        idle[-1].bind((f"127.0.1.{n}", 0))
        idle[-1].connect(("127.0.0.1", run.port))
        if n % 50 == 0:
            run.turn(lambda: True)
    assert run.turn(lambda: len(hub_of(run).roster.strangers) == entrance.STRANGERS)
    run.start(1)
    assert run.all_here()
    assert 1 < len(hub_of(run).notes) <= MOST
    run.close()
    assert hub_of(run).notes[-1].startswith("refused 1")


def test_addresses_of_one_network_are_one_stranger() -> None:
    assert (
        entrance.network("fd00:1:2:3::1") == entrance.network("fd00:1:2:3:ff::2") != entrance.network("fd00:1:2:4::1")
    )
    assert entrance.network("10.0.0.1") != entrance.network("10.0.0.2")


@pytest.mark.parametrize("drips", [b"", b" ", b'{"lifeline": 2, "word": "'])
def test_a_connection_that_never_introduces_itself_goes(
    run: Machines, monkeypatch: pytest.MonkeyPatch, drips: bytes
) -> None:
    monkeypatch.setattr(reception, "INTRODUCTION", 0.5)
    with dialed(run) as slow:
        slow.setblocking(False)
        began = time.monotonic()

        def gone() -> bool:
            try:
                if drips:
                    slow.send(drips[:1])
                return run.turn(lambda: not hub_of(run).roster.peers and time.monotonic() > began + 0.1, 0.05)
            except OSError:
                return True

        assert until(gone, 5)
    assert time.monotonic() - began < 3


def test_a_main_machine_that_never_answers_is_left_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "INTRODUCTION", 0.3)
    run = Machines(2)
    with socket.create_server(("127.0.0.1", run.port)) as mute:
        mute.settimeout(5)
        run.start(1)
        for _time in range(2):
            run.turn(lambda: select.select([mute], [], [], 0) != ([], [], []))
            mute.accept()
    assert not run.sides[1].notes
    run.close()


# What is said.


def test_noise_is_refused_counted_and_told_once(run: Machines) -> None:
    noises = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"[" * 200 + b"\n",
        b"\x1b[2J\n",
        b"\0" * 600,
        b'{"word": NaN}\n',
        b"9" * 500 + b"\n",
    ]
    for _time in range(10):
        for noise in noises:
            with dialed(run) as other:
                other.sendall(noise)
                assert closed(run, other)
    notes = hub_of(run).notes
    assert sorted(notes) == [
        "refused a launcher at 127.0.0.1: a message is too long",
        "refused a launcher at 127.0.0.1: it uses another protocol",
    ]
    hub_of(run).close()
    assert notes[-1] == "refused 58 more times what the notes above say"


@pytest.mark.parametrize("kind", ["hello", "beat", "over", "failed", "nonsense"])
def test_who_has_not_proven_that_it_knows_the_run_is_not_heard(run: Machines, kind: str) -> None:
    link = stranger(run, run.secret)
    more: dict[str, Any] = {"failure": dict(failure(1, 1.0, log=None))} if kind in ("over", "failed") else {}
    link.send(**({**HELLO, "machines": 3} if kind == "hello" else {"kind": kind, **more}))
    assert closed(run, link.socket)
    hub = hub_of(run)
    assert not hub.ending
    assert hub.roster.seen == hub.roster.finished == set()


def test_a_stranger_hears_neither_the_runs_name_nor_its_size(run: Machines) -> None:
    """Whatever it sends, as long as it knows neither the secret nor the name."""
    line = hub_of(run).line.replace(run="a-run-of-ours", machines=3)
    hub_of(run).line = hub_of(run).reception.line = hub_of(run).reception.admission.line = line
    heard = b""
    for secret in (None, b"guess"):
        for proof in ({"run": "0" * 64}, {"run": "a-run"}, {}):
            try:
                link = stranger(run, secret)
            except Broken:  # the greeting alone is a reason to go
                continue
            link.send(kind="proof", **proof)
            link.socket.settimeout(0.2)
            run.turn(lambda: False, 0.2)
            with suppress(OSError):
                heard += link.socket.recv(65536)
            link.close()
    assert b"ours" not in heard
    assert b"machines" not in heard
    assert b"host" not in heard
    assert not hub_of(run).ending


def test_a_member_tells_a_stranger_neither() -> None:
    """One that listens where the main machine should."""
    for secret in (None, SECRET):
        run = Machines(2, secret=secret)
        with socket.create_server(("127.0.0.1", run.port)) as server:
            member = run.start(1, run="a-run-of-ours")
            run.turn(lambda: select.select([server], [], [], 0) != ([], [], []))
            other = Link(server.accept()[0], "hub", b"guess" if secret else None)
            other.greet()
            heard: list[object] = []
            for _time in range(3):
                run.turn(lambda: False, 0.1)
                try:
                    heard.append(other.receive())
                    other.send(kind="proof", run="0" * 64)
                except Broken as why:
                    heard.append(why)
        assert "ours" not in repr(heard)
        assert "machines" not in repr(heard)
        assert not member.ending
        assert "isn't a launcher of this run" in member.notes[0]
        run.close()


def test_a_message_of_the_hub_sent_back_to_it_proves_nothing(run: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reflection: without the secret, all that one has is what the other side says."""
    monkeypatch.setattr(reception, "INTRODUCTION", 1)
    with dialed(run) as other:
        other.setblocking(False)

        def reflected() -> bool:
            try:
                data = other.recv(65536)
                other.sendall(data)
            except BlockingIOError:
                return False
            except OSError:
                return True
            return not data

        assert run.turn(reflected)
    assert hub_of(run).roster.seen == set()
    assert not hub_of(run).ending


def test_a_conversation_that_was_listened_to_can_not_be_had_again(run: Machines) -> None:
    """Neither with the same launcher nor with the next one of the same name and secret."""
    spoken: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as between:
        member = Member(run.line(1).replace(port=between.getsockname()[1]), "host1", run.secret)
        run.sides[1] = member
        run.turn(lambda: select.select([between], [], [], 0) != ([], [], []))
        here, there = between.accept()[0], dialed(run)
        here.setblocking(False)
        there.setblocking(False)
        member.failed(failure(1, time.time()))
        member.over(failure(1, time.time()))

        def carried() -> bool:
            for source, target in ((here, there), (there, here)):
                try:
                    data = source.recv(65536)
                except BlockingIOError:
                    continue
                if source is here:
                    spoken.append(data)
                target.sendall(data)
            return hub_of(run).ending

        assert run.turn(carried)
        run.sides.pop(1).close()
        here.close()
        there.close()
    assert hub_of(run).roster.finished == {1}
    for again in (False, True):
        if again:
            run.close()
            run.sides.clear()
            run.start(0)
            assert not hub_of(run).ending
        with dialed(run) as other:
            other.sendall(b"".join(spoken))
            assert closed(run, other)
    assert not hub_of(run).ending
    assert hub_of(run).roster.seen == hub_of(run).roster.finished == set()


@pytest.mark.parametrize("cut", sampled(range(0, 420, 13), every=5))
def test_a_conversation_that_breaks_off_anywhere_is_no_message(cut: int) -> None:
    run = Machines(2, secret=SECRET)
    run.start(0)
    link = stranger(run, SECRET)
    link.send(kind="proof", run=link.proof("member", "r"))
    assert run.turn(lambda: any(peer.link.proven for peer in hub_of(run).roster.peers.values()))
    link.socket.setblocking(True)
    text = json.dumps({**HELLO, "total": None}).encode()
    line = link._seal("member", 1, text) + b" " + text + b"\n"  # pyright: ignore[reportPrivateUsage]
    link.socket.sendall(line[: min(cut, len(line) - 1)])
    link.close()
    run.turn(lambda: not hub_of(run).roster.peers, 1)
    assert hub_of(run).roster.seen == set()
    run.close()


def test_what_a_machine_of_the_run_may_not_say_is_ignored_and_told_once(run: Machines) -> None:
    member = run.start(1)
    assert isinstance(member, Member)
    assert run.turn(lambda: member.missing == (2,))
    link = member.connection.ready
    assert link is not None
    for _time in range(3):
        link.send(kind="beat", sent=1e300)
        link.send(kind="over", failure={**dict(failure(1, 1.0)), "status": 2**70})
        link.send(kind="hello", **{name: value for name, value in HELLO.items() if name != "kind"})
    run.turn(lambda: False, 0.5)
    assert hub_of(run).notes == ["ignored a message from 127.0.0.1 (machine 1) that isn't valid"]
    assert not hub_of(run).ending
    assert hub_of(run).roster.finished == set()
    (peer,) = hub_of(run).roster.present.values()
    for _time in range(3):
        peer.link.send(kind="end", grace=-1)
        peer.link.send(kind="verdict", failure={})
        peer.link.send(kind="beat", missing=[2**70])
    run.turn(lambda: False, 0.5)
    assert member.notes == ["ignored a message of the main machine that isn't valid"]
    assert not member.ending


@pytest.mark.exhaustive
def test_a_machine_that_comes_again_by_another_connection_is_there_once(run: Machines) -> None:
    """Half-open: the main machine hasn't noticed that the first one broke, and it must not be missed later."""
    first = run.start(1)
    assert isinstance(first, Member)
    assert run.turn(lambda: first.missing == (2,))
    run.still.add(1)
    run.sides[7] = again = Member(run.line(1), "host1", run.secret)
    again.reports.token = first.reports.token
    assert run.turn(lambda: again.missing == (2,))
    assert len(hub_of(run).roster.peers) == 1
    assert not run.turn(lambda: hub_of(run).ending, hub_of(run).line.silence * 2)
    other = run.sides[8] = Member(run.line(1), "host1", run.secret)
    assert run.turn(lambda: bool(other.refused))
    assert "machine 1 is here already" in other.refused


# Without a secret, and with one that nobody asked for.


class Ranks:
    """Of this machine, which haven't started."""

    def started(self) -> bool:
        """Return that they don't run."""
        return False

    def let_start(self) -> None:
        """Do nothing."""


def watched(line: Lifeline, secret: Secret | None = None) -> Watch:
    return Watch(Plan("torchrun", (), lifeline=line), secret or Secret(line, None, {}), "h", lambda: NOTHING, Ranks())


def test_a_lifeline_timeout_of_years_can_be_waited_for() -> None:
    watch = watched(Machines(2, timeout=1e10).line(0))
    poller = select.poll()
    watch.step(poller, [])
    assert watch.due > 1000
    assert watch.due * 1000 < 2**31
    watch.side.close()


def test_who_waits_too_long_tells_the_others_that_and_no_status_of_its_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watched(Machines(2).line(1))
    watch.late = "machine 0 wasn't found"
    told: list[Any] = []
    monkeypatch.setattr(watch, "_first", told.append)
    assert watch.conclude(Result(status=137)).problems == (watch.late,)
    assert (told[0].status, told[0].cause) == (1, watch.late)
    watch.side.close()


@pytest.mark.exhaustive
@pytest.mark.parametrize("after", [0.0, 0.02])
def test_who_accepts_and_hangs_up_ends_no_launcher(after: float) -> None:
    """Others of this process get the closed connection's number, and wait for it at the same poller."""
    line = Machines(2, timeout=1).line(1)
    poller, stop = select.poll(), threading.Event()
    watch = watched(line)
    others: list[int] = []

    def hang_up(server: socket.socket) -> None:
        while not stop.is_set():
            try:
                accepted, _where = server.accept()
            except OSError:
                continue
            time.sleep(after)
            accepted.close()

    with socket.create_server(("127.0.0.1", line.port)) as server:
        server.settimeout(0.1)
        thread = threading.Thread(target=hang_up, args=(server,))
        thread.start()
        try:
            until_then = time.monotonic() + 3
            while time.monotonic() < until_then:
                ready = poller.poll(10)
                assert not any(events & select.POLLNVAL for _fd, events in ready)  # a closed one is waited for
                watch.step(poller, ready)
                for fd in others:
                    poller.unregister(fd)
                    os.close(fd)
                others = list(os.pipe()) if len(others) == 0 else []
                for fd in others:
                    poller.register(fd, select.POLLIN)
        finally:
            stop.set()
            thread.join()
            for fd in others:
                os.close(fd)
    assert not watch.side.ending
    watch.side.close()


@pytest.mark.parametrize("secret", [None, "carried"])
def test_an_open_port_is_told_and_only_where_it_is_used(secret: str | None) -> None:
    line = Machines(2).line(0).replace(listen=("127.0.0.2",))
    watch = watched(line, Secret(line, secret, {}))
    told = [note for note in watch.side.notes if f"whoever reaches 127.0.0.1:{line.port} can join this run" in note]
    assert len(told) == (secret is None)
    socket.create_connection(("127.0.0.2", line.port)).close()
    if secret is None:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", line.port))
    else:
        socket.create_connection(("127.0.0.1", line.port)).close()
    watch.side.close()


@pytest.mark.parametrize(
    ("listen", "others"), [(("127.0.0.2", "192.0.2.1"), False), (("192.0.2.1", "fd00::77"), True)]
)
def test_an_address_that_has_gone_is_left_out(listen: tuple[str, ...], others: bool) -> None:
    line = Machines(2).line(0).replace(listen=listen)
    hub = Hub(line, "main", None)
    socket.create_connection(("127.0.0.2", line.port)).close()
    with socket.socket() as other:
        assert (other.connect_ex(("127.0.0.1", line.port)) == 0) == others
    assert hub.notes == []
    hub.close()


@pytest.mark.parametrize("there", [True, False])
def test_in_a_shared_home_the_main_machine_leaves_a_secret_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr(secrets, "shared", bool)
    run, home = Machines(2), {"XDG_STATE_HOME": str(tmp_path / "main")}
    main = Secret(run.line(0), None, home)
    (file,) = (tmp_path / "main/accel/lifeline").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert main.value == file.read_bytes()
    assert len(main.value or b"") == 64
    other = Secret(run.line(1), None, home if there else {"XDG_STATE_HOME": str(tmp_path)})
    assert other.value is None
    run.sides[0] = hub = Hub(run.line(0), "main", main.value)
    hub.reception.entrance.file = main.file
    run.sides[1] = member = Member(run.line(1), "host1", other.value, other.find)
    assert run.turn(lambda: member.missing == () or member.done)
    assert (member.missing == ()) == there
    assert not member.ending
    if not there:
        assert "it has a secret, and this launcher has none" in member.notes[0]
    run.close()
    main.remove()
    assert list((tmp_path / "main/accel/lifeline").iterdir()) == []


def test_a_relative_state_folder_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the standard says; else every folder that a launcher starts in would hold another secret."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Secret(Machines(2).line(0), None, {"XDG_STATE_HOME": "here"}).folder == str(
        tmp_path / ".local/state/accel/lifeline"
    )


@pytest.mark.parametrize("wrong", ["readable", "link", "another's"])
def test_a_secret_that_others_could_have_left_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr(secrets, "shared", bool)
    run, home = Machines(2), {"XDG_STATE_HOME": str(tmp_path)}
    main = Secret(run.line(0), None, home)
    other, path = Secret(run.line(1), None, home), Path(main.folder, main.file)
    assert other.find(main.file) == main.value
    for name in ("", "None", "../" + "0" * 29, "0" * 32, main.file + "\0"):
        assert other.find(name) is None
    if wrong == "readable":
        path.chmod(0o644)
    elif wrong == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert other.find(main.file) is None


def test_which_file_systems_are_shared(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 0:21 / / rw - ext4 /dev/sda1 rw\n30 22 0:30 / /home rw shared:1 - nfs4 server:/home rw\n"
        "31 30 0:31 / /home/my\\040own rw - tmpfs tmpfs rw\nbroken\n"
    )
    found = {
        one: secrets.shared(one, str(mounts)) for one in ("/home/me/x", "/homes", "/", "/home/my own/x", "/home")
    }
    assert found == {"/home/me/x": True, "/homes": False, "/": False, "/home/my own/x": False, "/home": False}


def test_a_secret_comes_with_what_has_started_all_sides() -> None:
    line = Machines(2).line(1)
    key = {OF_MPIRUN: "0123456789abcdef-fedcba9876543210"}
    assert Secret(line, None, key).value == b"0123456789abcdef-fedcba9876543210"
    assert Secret(line, "carried", key).value == b"carried"
    assert Secret(line, None, {}).value is None


def test_the_greeting_is_small_and_says_nothing(run: Machines) -> None:
    with dialed(run) as other:
        assert run.turn(lambda: bool(hub_of(run).roster.peers))
        found = json.loads(other.recv(1000))
    assert found.keys() == {"lifeline", "word", "sealed", "stacks", "portraits", "losses", "watched"}
    assert (found["lifeline"], found["sealed"]) == (PROTOCOL, run.secret is not None)
