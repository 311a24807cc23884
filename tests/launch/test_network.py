"""`--check_network`: the rounds, what two machines say to each other, and what is told of the figures."""

from __future__ import annotations

import socket
import threading
from itertools import combinations

import pytest

from accel_launch.hosts.network import figures
from accel_launch.hosts.network.checking import Direction, Network, pairs
from accel_launch.hosts.network.trial import Trial, own_address


@pytest.mark.parametrize("count", [2, 3, 4, 7, 8, 33])
def test_each_pair_meets_once_and_no_machine_is_in_two_pairs_at_once(count: int) -> None:
    rounds = list(pairs(count))
    assert sorted(pair for met in rounds for pair in met) == list(combinations(range(count), 2))
    for met in rounds:
        assert len({place for pair in met for place in pair}) == 2 * len(met)
    assert len(rounds) == count - 1 + count % 2


def network(count: int, **odd: tuple[float | None, float | None]) -> Network:
    """All links carry 1 GB/s and answer in 0.1 ms, but ``a_b`` (from a to b) and ``a_`` or ``_a`` (all from, to a)."""
    names = "abcdefgh"[:count]
    directions: list[Direction] = []
    for one in names:
        for other in names.replace(one, ""):
            keys = (f"{one}_{other}", f"{one}_", f"_{other}")
            latency, rate = next((odd[key] for key in keys if key in odd), (0.0001, 1e9))
            problem = "timed out" if latency is None else ""
            directions.append(Direction(one, other, latency, rate, problem))
    return Network({name: (f"10.0.0.{place}", "eth0") for place, name in enumerate(names)}, tuple(directions), 1)


SLOW, LATE, SHUT = (0.0001, 4e8), (0.0004, 1e9), (None, None)


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (network(8), []),
        (network(2), []),
        (network(3, b_=SLOW), ["b sends 3.2 Gbit/s; the median of the machines is 8 Gbit/s"]),
        (network(8, _b=SLOW), ["b receives 3.2 Gbit/s; the median of the machines is 8 Gbit/s"]),
        (network(8, a_b=SLOW), ["from a to b: 3.2 Gbit/s; the median is 8 Gbit/s"]),
        (network(2, a_b=SLOW), ["from a to b: 3.2 Gbit/s; the median is 8 Gbit/s"]),
        (network(3, a_b=(0.1, None)), ["from a to b: nothing within 0.2 s", "from a to b: round trips take 100 ms"]),
        (network(8, h_=LATE, _h=LATE), ["h: round trips take 0.4 ms; the median of the machines is 0.1 ms"]),
        (network(3, a_b=(0.00021, 6e8)), []),
    ],
)
def test_what_is_odd_is_named(found: Network, lines: list[str]) -> None:
    told = figures.odd(found)
    assert len(told) == len(lines), told
    assert all(line.startswith(start) for line, start in zip(told, lines, strict=True)), told


def test_who_can_not_connect_is_named_once() -> None:
    assert figures.unconnected(network(8)) == []
    one, way_out = figures.unconnected(network(4, _b=SHUT))
    assert one == "a, c, d can't connect with b at 10.0.0.1 (timed out)"
    assert "NCCL_SOCKET_IFNAME" in way_out
    assert figures.unconnected(network(4, a_=SHUT))[0].startswith("a can't connect with b, c, d at ")
    assert len(figures.table(network(4, _b=SHUT, b_=SHUT)).splitlines()) == 5
    assert "nothing within 0.2 s" in figures.table(network(2, a_b=(0.1, None), b_a=(0.1, None)))


def test_two_machines_measure_their_link_and_drop_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [Trial(), Trial(), Trial()]
    keys = ("ab" * 32, "ab" * 32, "cd" * 32)
    listening = [
        trial.answer({"key": key, "rank": rank, "towards": "127.0.0.1", "cpu": True})
        for rank, (trial, key) in enumerate(zip(trials, keys, strict=True))
    ]
    at = [(str(one["address"]), int(str(one["port"]))) for one in listening]
    assert at[0][0] == "127.0.0.1"
    with socket.create_connection(at[0]) as silent, socket.create_connection(at[1]) as loud:  # of nobody we know
        silent.sendall(b"x")
        loud.sendall(b"x" * 4096)
        answers: list[dict[str, object]] = [{}, {}]

        def take_part(rank: int) -> None:
            order = {"round": 3, "peer": 1 - rank, "at": list(at[1 - rank]), "first": rank == 0}
            answers[rank] = trials[rank].answer(order)

        threads = [threading.Thread(target=take_part, args=(rank,)) for rank in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    for answer in answers:
        sent, received = answer["sent"], answer["received"]
        assert isinstance(sent, dict)
        assert isinstance(received, dict)
        assert 0 < sent["latency"] < 1
        assert received["rate"] > 1e5
    monkeypatch.setattr("accel_launch.hosts.network.trial.COMING", 0.5)
    one = threading.Thread(target=trials[0].answer, args=({"round": 4, "peer": 2, "at": at[2], "first": False},))
    one.start()
    wrong = trials[2].answer({"round": 4, "peer": 0, "at": list(at[0]), "first": True})  # of another run
    assert wrong["sent"] == {"problem": "somebody else answers there"}
    assert wrong["received"] == {"rate": None}
    one.join(30)
    assert trials[0].answer({"round": 5}) == {"kind": "round 5"}
    for trial in trials:
        assert trial.server is not None
        trial.server.close()


def test_the_interface_that_the_user_names_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("accel_launch.ranks.route.interfaces", lambda: {"10.1.0.1": "eth1", "10.2.0.1": "ib0"})
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "=ib0")
    assert own_address("10.1.0.9", cpu=False) == ("ib0", "10.2.0.1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth1")
    assert own_address("10.1.0.9", cpu=True) == ("eth1", "10.1.0.1")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "eth")
    assert own_address("10.1.0.9", cpu=False) == ("eth1", "10.1.0.1")
