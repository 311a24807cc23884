"""Rank 0 that says where it is; under a real mpirun in `test_mpirun_machines`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from accel_launch.host import Machine
from accel_launch.schedulers import herald
from tests.launch.processes import gone, marked, until

WORD = "1357250560.0;tcp://192.0.2.2:34713"
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
        monkeypatch.setattr(herald, name, seconds)
    monkeypatch.setenv("ACCEL_TEST_MARK", f"herald-{os.getpid()}-{time.monotonic_ns()}")
    yield
    herald.ask.cache_clear()


def heralds() -> list[int]:
    return marked(os.environ["ACCEL_TEST_MARK"])


def test_whoever_knows_the_word_is_answered_and_then_it_is_gone(port: int) -> None:
    assert Machine().herald(port, WORD, 3)
    (pid,) = heralds()
    assert os.getsid(pid) != os.getsid(0)  # what ends the rank's process group leaves it to the others
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(herald.ask.__wrapped__, [HOSTS] * 3, [port] * 3, [WORD] * 3))
    assert set(found) <= {"127.0.0.2", "localhost"}
    assert len(found) == 3
    assert gone([pid])


def test_a_stranger_learns_nothing_and_is_not_counted(port: int) -> None:
    assert Machine().herald(port, WORD, 1)
    with socket.create_connection(("127.0.0.1", port)) as silent:
        assert herald.ask.__wrapped__(("127.0.0.1",), port, WORD[:-1] + "4") is None
        silent.sendall(b"GET / HTTP/1.1\r\n\r\n" + WORD.encode())
        assert silent.recv(1) == b""
    assert herald.ask.__wrapped__(("127.0.0.1",), port, WORD) == "127.0.0.1"


def test_it_may_come_later_than_the_others(port: int) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(herald.ask, ("127.0.0.1",), port, WORD)
        time.sleep(0.5)
        assert Machine().herald(port, WORD, 1)
        assert asked.result() == "127.0.0.1"


def test_nobody_waits_for_ever(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(herald, "ARRIVAL", 0.3)
    assert herald.ask(("127.0.0.1", "name.invalid"), port, WORD) is None
    with socket.create_server(("127.0.0.1", port)) as mute:
        assert herald.ask.__wrapped__(("127.0.0.1",), port, WORD) is None
        with mute.accept()[0] as asked:
            assert asked.recv(100) == WORD.encode() + b"\n"


def test_it_outlives_its_rank_by_seconds(port: int) -> None:
    rank = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    words = (sys.executable, "-I", "-S", herald.__file__, str(port), WORD, "3", str(rank.pid))
    assert Machine().says(*words) == "listening\n"
    (pid,) = [one for one in heralds() if one != rank.pid]
    rank.communicate(b"\n")
    assert herald.ask(("127.0.0.1",), port, WORD) == "127.0.0.1"
    assert gone([pid], within=herald.LINGER + 4)


def test_one_rank_has_one_herald_and_says_so_where_it_can_have_none(port: int) -> None:
    machine = Machine()
    assert [machine.herald(port, WORD, 1), machine.herald(port, WORD, 1)] == [True, True]
    assert len(heralds()) == 1
    assert not Machine().herald(port, WORD, 1)
    assert herald.ask(("127.0.0.1",), port, WORD) == "127.0.0.1"
    assert until(lambda: not heralds())
