"""Rank 0 that says where it is; under a real mpirun in `test_mpirun_machines`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from accel_launch.machine.probe import Probe
from accel_launch.ranks import beacon
from tests.launch.processes import gone, marked, until
from tests.launch.test_lifeline import free_port

WORD = "7a04fb0711036387-7df7d21ef5b7327a"
HOSTS = ("192.0.2.7", "127.0.0.2", "localhost")


@pytest.fixture
def port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody waits long, and what a test has started is known by the environment."""
    for name, seconds in (("ARRIVAL", 3.0), ("TURN", 0.2)):
        monkeypatch.setattr(beacon, name, seconds)
    monkeypatch.setenv(beacon.KEY, WORD)
    monkeypatch.setenv("ACCEL_TEST_MARK", f"beacon-{os.getpid()}-{time.monotonic_ns()}")
    yield
    beacon.ask.cache_clear()


ask = beacon.ask.__wrapped__


def beacons() -> list[int]:
    return marked(os.environ["ACCEL_TEST_MARK"])


def test_whoever_has_the_key_is_answered_and_then_it_is_gone(port: int) -> None:
    assert Probe().mpi.start_beacon(port, 3)
    (pid,) = beacons()
    assert os.getsid(pid) != os.getsid(0)  # what ends the rank's process group leaves it to the others
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(ask, [HOSTS] * 3, [port] * 3))
    assert set(found) <= {"127.0.0.2", "localhost"}
    assert len(found) == 3
    assert gone([pid])


@pytest.mark.parametrize("silent", [1, 300])
def test_strangers_hold_nobody_up_and_are_not_counted(
    port: int, monkeypatch: pytest.MonkeyPatch, silent: int
) -> None:
    """Some say nothing, some drip, some say what an asker could, with another key."""
    assert Probe().mpi.start_beacon(port, 1)
    slow = [socket.create_connection(("127.0.0.1", port)) for _n in range(silent)]
    with monkeypatch.context() as patch:
        patch.setenv(beacon.KEY, WORD[:-1] + "b")
        patch.setattr(beacon, "ARRIVAL", 0.1)
        assert ask(("127.0.0.1",), port) is None
    for number, one in enumerate(slow):
        with suppress(OSError):
            one.sendall(
                (b"G", b"GET / HTTP/1.1\r\n\r\n", b"\xff \xff\n", b"x" * 999, WORD.encode() + b"\n")[number % 5]
            )
    began = time.monotonic()
    assert ask(("127.0.0.1",), port) == "127.0.0.1"
    assert time.monotonic() - began < 2
    for one in slow:
        one.close()
    assert until(lambda: not beacons())


def test_a_connection_has_a_deadline_however_it_drips(port: int) -> None:
    assert Probe().mpi.start_beacon(port, 1)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as slow, suppress(OSError):
        while time.monotonic() < began + 10:
            slow.sendall(b"a")
            time.sleep(0.1)
    assert time.monotonic() - began < 5  # its turn of a second, and another machine's load
    assert ask(("127.0.0.1",), port) == "127.0.0.1"


def _echo(connection: socket.socket) -> None:
    while data := connection.recv(100):
        connection.sendall(data)


def _greets_and_echoes(connection: socket.socket) -> None:
    connection.sendall(b"0" * 32 + b"\n")
    _echo(connection)


def _drips(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"0")
        time.sleep(0.05)


def _floods(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"0" * 65536)


@pytest.mark.parametrize("answer", [_echo, _greets_and_echoes, _drips, _floods])
def test_no_other_server_passes_for_rank_0(port: int, answer: Callable[[socket.socket], None]) -> None:
    def answers(server: socket.socket) -> None:
        with suppress(OSError), server.accept()[0] as connection:
            answer(connection)

    with (
        socket.create_server(("127.0.0.2", port)) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        other = free_port()  # not that one
        server.settimeout(5)
        pool.submit(answers, server)
        began = time.monotonic()
        assert Probe().mpi.start_beacon(other, 1)
        assert not beacon._answers("127.0.0.2", port)  # pyright: ignore[reportPrivateUsage]
        assert time.monotonic() - began < 3
    assert ask(("127.0.0.1",), other) == "127.0.0.1"


def test_a_conversation_that_is_passed_on_proves_nothing(port: int) -> None:
    """A stranger on a machine where rank 0 may be asks the real beacon what it was asked."""

    def passes_on(server: socket.socket) -> None:
        with server.accept()[0] as here, socket.create_connection(("127.0.0.1", port)) as there, suppress(OSError):
            for source, target in ((there, here), (here, there), (there, here)):
                target.sendall(source.recv(1000))

    assert Probe().mpi.start_beacon(port, 1)
    with socket.create_server(("127.0.0.3", 0)) as server, ThreadPoolExecutor(1) as pool:
        server.settimeout(5)
        pool.submit(passes_on, server)
        assert not beacon._answers("127.0.0.3", server.getsockname()[1])  # pyright: ignore[reportPrivateUsage]
    assert ask(("127.0.0.1",), port) == "127.0.0.1"


def test_the_key_is_on_no_command_line_and_goes_over_no_wire(port: int) -> None:
    assert Probe().mpi.start_beacon(port, 1)
    (pid,) = beacons()
    assert WORD not in Path(f"/proc/{pid}/cmdline").read_text()
    with socket.create_server(("127.0.0.2", 0)) as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(beacon._answers, "127.0.0.2", server.getsockname()[1])  # pyright: ignore[reportPrivateUsage]
        with server.accept()[0] as connection:
            connection.sendall(b"0" * 32 + b"\n")
            assert WORD.encode() not in connection.recv(1000)
        assert not asked.result()
    assert ask(("127.0.0.1",), port) == "127.0.0.1"


def test_without_a_key_nobody_is_asked(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(beacon.KEY)
    began = time.monotonic()
    assert not Probe().mpi.start_beacon(port, 1)
    assert ask(("127.0.0.1",), port) is None
    assert time.monotonic() - began < beacon.ARRIVAL


def test_it_may_come_later_than_the_others(port: int) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(beacon.ask, ("127.0.0.1",), port)
        time.sleep(0.5)
        assert Probe().mpi.start_beacon(port, 1)
        assert asked.result() == "127.0.0.1"


def test_nobody_waits_for_ever(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beacon, "ARRIVAL", 0.3)
    assert beacon.ask(("127.0.0.1", "name.invalid"), port) is None
    with socket.create_server(("127.0.0.1", port)):
        assert ask(("127.0.0.1",), port) is None


def test_it_outlives_its_rank_by_seconds(port: int) -> None:
    rank = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    words = (sys.executable, "-I", "-S", beacon.__file__, str(port), "3", str(rank.pid))
    assert Probe().programs.output(*words) == "listening\n"
    (pid,) = [one for one in beacons() if one != rank.pid]
    rank.communicate(b"\n")
    assert beacon.ask(("127.0.0.1",), port) == "127.0.0.1"
    assert gone([pid], within=beacon.LINGER + 4)


def test_one_rank_has_one_beacon_and_says_so_where_it_can_have_none(port: int) -> None:
    machine = Probe()
    assert [machine.mpi.start_beacon(port, 1), machine.mpi.start_beacon(port, 1)] == [True, True]
    assert len(beacons()) == 1
    assert not Probe().mpi.start_beacon(port, 1)
    assert beacon.ask(("127.0.0.1",), port) == "127.0.0.1"
    assert until(lambda: not beacons())
