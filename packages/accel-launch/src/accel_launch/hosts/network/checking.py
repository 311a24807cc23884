"""Leads all machines through rounds in which each pair tries its link, and no machine is in two pairs at once."""

from __future__ import annotations

import os

from accel_config.errors import AccelError
from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from accel_launch.hosts.gathering import Crew
    from accel_launch.hosts.link import Link

MOST_FAILED = 4  # directions that can't connect, after which no further round begins: each one takes seconds


class Direction(Record):
    """The link from one machine to another."""

    sender: str
    receiver: str
    latency: float | None
    """Seconds of a round trip in the median; None if they can't connect."""
    rate: float | None
    """Bytes a second; None if nothing came within the time."""
    problem: str = ""
    """Why they can't connect."""


class Network(Record):
    """What was measured."""

    addresses: dict[str, tuple[str, str]]
    """The address and the interface of each machine."""
    directions: tuple[Direction, ...]
    rounds: int

    def as_json(self) -> list[dict[str, object]]:
        """Return each direction as plain data."""
        return [
            {
                "from": one.sender,
                "to": one.receiver,
                "address": self.addresses[one.receiver][0],
                "interface": self.addresses[one.receiver][1],
                "round_trip_s": one.latency,
                "bits_per_s": None if one.rate is None else round(one.rate * 8),
                "problem": one.problem or None,
            }
            for one in self.directions
        ]


def pairs(count: int) -> Iterator[list[tuple[int, int]]]:
    """Yield the rounds of a tournament in which each of ``count`` machines meets each other one once."""
    places = [*range(count), *([-1] if count % 2 else [])]
    half = len(places) // 2
    for _round in range(len(places) - 1):
        met = zip(places[:half], reversed(places[half:]), strict=True)
        yield [(min(one), max(one)) for one in met if -1 not in one]
        places = [places[0], places[-1], *places[1:-1]]


def check(crew: Crew, towards: str, *, cpu: bool) -> Network:
    """Try the link of each pair of machines.

    Args:
        crew: The machines, whose launchers wait for the word to start.
        towards: The main machine's address; the way to it is the ranks' own.
        cpu: Whether the ranks have no devices, so that only gloo's interface counts.

    Raises:
        AccelError: a machine has no network, or is gone.
    """
    key = os.urandom(32).hex()
    crew.ask("listening", lambda link: {"key": key, "rank": link.place.rank, "towards": towards, "cpu": cpu})
    found: list[Direction] = []
    rounds = 0
    for number, met in enumerate(pairs(len(crew.links))):
        orders = _orders(crew.links, number, met)
        crew.ask(f"round {number}", lambda link, orders=orders: orders[link.place.rank])
        for one, other in met:
            a, b = crew.links[one], crew.links[other]
            found += [_direction(a, b, number), _direction(b, a, number)]
        rounds += 1
        if sum(bool(one.problem) for one in found) >= MOST_FAILED:
            break
    addresses = {link.name: (_text(link, "address"), _text(link, "interface")) for link in crew.links}
    return Network(addresses, tuple(found), rounds)


def _orders(links: Sequence[Link], number: int, met: Sequence[tuple[int, int]]) -> list[dict[str, object]]:
    orders: list[dict[str, object]] = [{"round": number} for _link in links]
    for pair in met:
        for own, peer in (pair, pair[::-1]):
            said = links[peer].said["listening"]
            orders[own] |= {"peer": peer, "at": [said.get("address"), said.get("port")], "first": own == pair[0]}
    return orders


def _direction(sender: Link, receiver: Link, number: int) -> Direction:
    """Return what both sides have said of a direction.

    Raises:
        AccelError: one of them isn't a launcher of ours.
    """
    kind = f"round {number}"
    sent, received = _part(sender, kind, "sent"), _part(receiver, kind, "received")
    latency, rate, problem = sent.get("latency"), received.get("rate"), sent.get("problem")
    if problem is None and not isinstance(latency, float):
        raise AccelError(f"{sender.name}: its launcher says nothing of its link to {receiver.name}")
    return Direction(
        sender.name,
        receiver.name,
        latency if problem is None else None,
        float(rate) if isinstance(rate, (int, float)) and problem is None else None,
        "" if problem is None else str(problem),
    )


def _part(link: Link, kind: str, name: str) -> dict[str, Any]:
    part = link.said[kind].get(name)
    return part if isinstance(part, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _text(link: Link, name: str) -> str:
    return str(link.said["listening"].get(name))
