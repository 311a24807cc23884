"""PMI, with a stand-in for the manager; `test_mpirun_machines` has the real MPICH and Intel MPI."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from accel_launch.machine import pmi
from accel_launch.ranks.managers import ask
from tests.launch.hydra import Hydra


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("atexit.register", print)
    yield
    pmi._exchange.cache_clear()


@pytest.fixture
def hydra() -> Iterator[Hydra]:
    made = Hydra(3)
    yield made
    made.close()


def together(hydra: Hydra, first: Mapping[str, str]) -> list[tuple[str, str] | None]:
    """What each rank gets."""
    with ThreadPoolExecutor(3) as pool:
        environs = [{"PMI_FD": str(fd), **(first if rank == 0 else {})} for rank, fd in enumerate(hydra.fds)]
        return list(pool.map(pmi.meet, environs, range(3)))


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        ({"PMI_HOSTNAME": "node-7"}, "node-7"),
        ({"HYDRA_BSTRAP_LOCALHOST": "10.0.0.7"}, "10.0.0.7"),
        ({"PMI_HOSTNAME": "localhost", "HYDRA_BSTRAP_LOCALHOST": "node-8"}, "node-8"),
        ({"PMI_HOSTNAME": "127.0.0.1"}, socket.gethostname()),
        ({"PMI_HOSTNAME": "::1"}, socket.gethostname()),
        ({}, socket.gethostname()),
    ],
)
def test_all_ranks_learn_where_the_first_is(hydra: Hydra, environ: dict[str, str], host: str) -> None:
    assert together(hydra, environ) == [(host, "kvs_7_0")] * 3
    assert [received[-1] for received in hydra.received] == ["get kvsname=kvs_7_0 key=accel-main"] * 3


def test_they_come_together_once(hydra: Hydra) -> None:
    first = together(hydra, {"PMI_HOSTNAME": "node-7"})
    received = [list(one) for one in hydra.received]
    assert together(hydra, {"PMI_HOSTNAME": "node-7"}) == first
    assert hydra.received == received


def test_leave_is_taken(hydra: Hydra) -> None:
    together(hydra, {})
    pmi.leave(hydra.fds[1])
    assert hydra.received[1][-1] == "finalize"
    pmi.leave(hydra.fds[1])  # the program may have done it already


def test_machines_may_come_later_than_a_manager_answers(hydra: Hydra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "__defaults__", (0.2,))
    late = threading.Timer(0.6, pmi.meet, ({"PMI_FD": str(hydra.fds[2])}, 2))
    late.start()
    with ThreadPoolExecutor(2) as pool:
        environs = [{"PMI_FD": str(fd), "PMI_HOSTNAME": "node-7"} for fd in hydra.fds[:2]]
        assert list(pool.map(pmi.meet, environs, range(2))) == [("node-7", "kvs_7_0")] * 2
    late.join()


def test_a_rank_that_does_not_come(hydra: Hydra, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pmi, "ARRIVAL", 0.2)
    assert pmi.meet({"PMI_FD": str(hydra.fds[1])}, 1) is None


def test_nobody_says_where_the_first_is(hydra: Hydra) -> None:
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(pmi.meet, [{"PMI_FD": str(fd)} for fd in hydra.fds], (1, 2, 3))) == [None] * 3


@pytest.mark.parametrize("answer", [None, b"", b"cmd=response_to"])
def test_a_manager_that_is_silent_or_gone(monkeypatch: pytest.MonkeyPatch, answer: bytes | None) -> None:
    monkeypatch.setattr(ask, "__defaults__", (0.2,))
    ours, its = socket.socketpair()
    if answer is not None:
        ours.sendall(answer)
        ours.shutdown(socket.SHUT_WR)
    assert pmi.meet({"PMI_FD": str(its.fileno())}, 0) is None
    pmi._exchange.cache_clear()
    ours.close()
    assert pmi.meet({"PMI_FD": str(its.fileno())}, 0) is None
    its.close()


def test_only_a_socket_is_spoken_to(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with path.open("w") as file:
        assert pmi.meet({"PMI_FD": str(file.fileno())}, 0) is None
        closed = os.dup(file.fileno())
    os.close(closed)
    assert path.read_text() == ""
    for fd in (str(closed), "", "x", "-1"):
        assert pmi.meet({"PMI_FD": fd}, 0) is None
    assert pmi.meet({}, 0) is None
