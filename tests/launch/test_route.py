"""The way to another machine; over several real ones in `test_machines` and `test_mpirun_machines`."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from accel_config import CATALOGUE, split
from accel_launch import Plan, plan
from accel_launch.machine.probe import Probe
from accel_launch.ranks import route
from accel_launch.ranks.route import Route, towards
from accel_launch.schedulers import settle
from tests.launch.hosts import Network, Still, host


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_the_loopback_that_is_asked_for(address: str) -> None:
    assert towards(address) == Probe().network.route(address, look_up=True) == Route("lo", "127.0.0.1")


def test_a_name_is_looked_up_only_where_that_is_allowed() -> None:
    assert Probe().network.route("localhost", look_up=False) is None
    assert Probe().network.route("127.0.0.1", look_up=False) == Route("lo", "127.0.0.1")
    assert towards("name.invalid") is Probe().network.route("name.invalid", look_up=True) is None
    assert Probe().network.route("a" * 64, look_up=True) is None
    assert [route.numeric(text) for text in ("10.0.0.1", "fd88::1", "localhost", "")] == [True, True, False, False]


def test_which_addresses_are_this_machines() -> None:
    assert [text for text in ("127.0.0.1", "::1", "192.0.2.9", "localhost") if route.elsewhere(text)] == ["192.0.2.9"]


def test_a_name_that_stands_for_the_loopback_leads_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def stands(*_words: object, **_more: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.1.1", 9))]

    def way(_family: int, where: tuple[str, int]) -> Route | None:
        return {"127.0.1.1": Route("lo", "127.0.0.1"), "192.0.2.1": out}.get(where[0])

    monkeypatch.setattr("socket.getaddrinfo", stands)
    monkeypatch.setattr(route, "_way", way)
    out: Route | None = Route("eth7", "10.0.0.9")
    assert towards("box") == Route("eth7", "10.0.0.9", guessed=True)
    for out in (None, Route("lo", "127.0.0.1")):  # noqa: B007 - `way` reads it
        assert towards("box") is None


class Leading(Network):
    """A network with one route to the main machine."""

    def __init__(self, way: Route | None) -> None:
        super().__init__()
        self._towards = way

    def route(self, address: str, *, look_up: bool) -> Route | None:  # noqa: ARG002 - always the same
        return self._towards


MACHINE: tuple[dict[str, str], tuple[str, ...]] = (
    {},
    (
        "--num_machines=2",
        "--nproc_per_node=2",
        "--machine_rank=1",
        "--main_process_ip=n0",
        "--main_process_port=2000",
    ),
)
RANK: tuple[dict[str, str], tuple[str, ...]] = (
    {
        "OMPI_COMM_WORLD_RANK": "3",
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_LOCAL_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
        "MASTER_ADDR": "n0",
    },
    (),
)


def launched(environ: dict[str, str], way: Route | None, *words: str) -> Plan:
    machine = Still(network=Leading(way))
    on = host(4, environ=environ, probe=machine, cwd=str(Path(__file__).parent))
    return plan(settle(split(CATALOGUE, list(words)), environ, machine), on, ["conftest.py"])


def interfaces(todo: Plan) -> dict[str, str]:
    (command,) = todo.commands
    return {name: text for name, text in command.env.items() if name.endswith("SOCKET_IFNAME")}


@pytest.mark.parametrize(
    ("flags", "way", "told", "note"),
    [
        ((), Route("ib0", "10.0.0.7"), {"GLOO_SOCKET_IFNAME": "ib0", "NCCL_SOCKET_IFNAME": "=ib0"}, ""),
        (("--cpu",), Route("ib0", "10.0.0.7"), {"GLOO_SOCKET_IFNAME": "ib0"}, ""),
        (
            (),
            Route("eth7", "10.0.0.9", guessed=True),
            {"GLOO_SOCKET_IFNAME": "eth7"},
            "gloo uses eth7, the default route",
        ),
    ],
)
def test_what_gloo_and_nccl_are_told(
    flags: tuple[str, ...], way: Route | None, told: dict[str, str], note: str
) -> None:
    own = {"NCCL_SOCKET_IFNAME": "eth3"}
    for environ, words in (MACHINE, RANK):
        todo = launched({**environ}, way, *words, *flags)
        assert interfaces(todo) == told
        assert [one for one in todo.notes if note in one] if note else "SOCKET_IFNAME" not in "".join(todo.notes)
        assert interfaces(launched({**environ, **own}, way, *words, *flags)) == {}


def test_a_way_that_is_not_known_is_looked_for_by_the_ranks_parents() -> None:
    """Where the launcher turns into the rank there is none."""
    environ, words = RANK
    for flags, names in (((), "GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME"), (("--cpu",), "GLOO_SOCKET_IFNAME")):
        todo = launched(environ, None, *words, *flags)
        assert interfaces(todo) == {}
        assert [note for note in todo.notes if f"set {names} if" in note]
    todo = launched(MACHINE[0], None, *MACHINE[1])
    assert interfaces(todo) == {}
    assert [note for note in todo.notes if note.endswith("isn't known yet: each rank looks for it when it starts")]


def test_ranks_of_one_machine_are_told_none() -> None:
    environ, words = RANK
    todo = launched({**environ, "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, Route("ib0", "10.0.0.7"), *words)
    assert interfaces(todo) == {}


def test_a_main_machine_that_is_none_is_told() -> None:
    def notes(*words: str) -> list[str]:
        todo = launched({}, Route("ib0", "10.0.0.7"), *MACHINE[1], *words)
        return [note for note in todo.notes if "isn't an address of this machine" in note]

    (note,) = notes("--machine_rank=0", "--main_process_ip=192.0.2.9")
    assert note.startswith("main_process_ip 192.0.2.9 (--main_process_ip) isn't an address of this machine")
    assert notes("--machine_rank=0") == notes("--machine_rank=1", "--main_process_ip=192.0.2.9") == []
