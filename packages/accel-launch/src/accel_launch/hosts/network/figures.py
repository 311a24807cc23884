"""What is told of the links: a table, and a line for each machine or link that is odd or doesn't work."""

from __future__ import annotations

from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from accel_launch.hosts.network.checking import Direction, Network

ODD = 2.0  # times worse than the median
NOTICED = 0.0002  # seconds above the median below which a round trip isn't odd
MOST = 20  # lines about links
WAY_OUT = (
    "let all ports through between the machines, or name another interface: --env GLOO_SOCKET_IFNAME=eth1 and "
    "NCCL_SOCKET_IFNAME"
)
UNITS = ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1.0, "bit/s"))


def table(network: Network) -> str:
    """Return a row for each machine, with the medians of its links."""
    rows: list[tuple[str, ...]] = [("machine", "address", "sends", "receives", "round trip")]
    for name, (address, interface) in network.addresses.items():
        sent = [one for one in network.directions if one.sender == name and not one.problem]
        received = [one for one in network.directions if one.receiver == name and not one.problem]
        figures = (speed(_typical(map(_rate, sent))), speed(_typical(map(_rate, received))), delay(_trips(sent)))
        where = f"{address} ({interface})" if interface else address
        rows.append((name, where, *(figures if sent else ("-", "-", "-"))))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "".join(f"  {one_line(line)}\n" for line in lines)


def unconnected(network: Network) -> list[str]:
    """Return a line for each machine that others can't reach, and for each that can't reach others."""
    bad: list[Direction] = [one for one in network.directions if one.problem]
    lines: list[str] = []
    ends: tuple[Callable[[Direction], str], ...] = (_receiver, _sender)
    while bad:
        groups: list[list[Direction]] = [
            [one for one in bad if end(one) == name] for end in ends for name in dict.fromkeys(map(end, bad))
        ]
        group = max(groups, key=len)
        bad = [one for one in bad if one not in group]
        lines.append(_refusal(group, network))
    return [*lines, WAY_OUT] if lines else []


def _refusal(group: Sequence[Direction], network: Network) -> str:
    senders, receivers = _names(map(_sender, group)), _names(map(_receiver, group))
    where = ", ".join(dict.fromkeys(network.addresses[one.receiver][0] for one in group))
    why = ", ".join(dict.fromkeys(one.problem for one in group))
    return f"{senders} can't connect with {receivers} at {where} ({why})"


def odd(network: Network) -> list[str]:
    """Return a line for each machine that is odd, and for each odd link between others."""
    usable = [one for one in network.directions if not one.problem]
    lines, blamed = list[str](), set[tuple[str, str]]()
    names = list(network.addresses) if len(network.addresses) > 2 else []  # noqa: PLR2004 - of two, either may be
    for verb, end in (("sends", _sender), ("receives", _receiver)):
        own = {name: _typical(_rate(one) for one in usable if end(one) == name) for name in names}
        middle = _typical(own.values())
        for name, rate in own.items():
            if any(end(one) == name for one in usable) and _slow(rate, middle):
                lines.append(f"{name} {verb} {speed(rate)}; the median of the machines is {speed(middle)}")
                blamed |= {(verb, name)}
    trips = {name: _trips([one for one in usable if name in (one.sender, one.receiver)]) for name in names}
    middle = _low(trips.values())
    for name, trip in trips.items():
        if _late(trip, middle):
            lines.append(f"{name}: round trips take {delay(trip)}; the median of the machines is {delay(middle)}")
            blamed |= {("late", name)}
    return lines + _links(usable, blamed)


def _links(usable: Sequence[Direction], blamed: set[tuple[str, str]]) -> list[str]:
    """Return a line for each odd link that isn't odd because one of its machines is."""
    rate, trip = _typical(map(_rate, usable)), _trips(usable)
    lines: list[str] = []
    for one in usable:
        slow = _slow(_rate(one), rate) and not {("sends", one.sender), ("receives", one.receiver)} & blamed
        late = _late(one.latency, trip) and not {("late", one.sender), ("late", one.receiver)} & blamed
        if slow:
            lines.append(f"from {one.sender} to {one.receiver}: {speed(one.rate)}; the median is {speed(rate)}")
        if late:
            text = f"from {one.sender} to {one.receiver}: round trips take {delay(one.latency)}"
            lines.append(f"{text}; the median is {delay(trip)}")
    more = len(lines) - MOST
    return lines if more <= 0 else [*lines[:MOST], f"{more} more odd links; the report of --report has all"]


def speed(rate: float | None) -> str:
    """Return bytes a second in words."""
    if not rate:
        return "nothing within 0.2 s"
    size, unit = next((one for one in UNITS if rate * 8 >= one[0]), UNITS[-1])
    return f"{rate * 8 / size:.3g} {unit}"


def delay(seconds: float | None) -> str:
    """Return a time in words."""
    return "-" if seconds is None else f"{seconds * 1000:.3g} ms"


def _slow(rate: float | None, middle: float | None) -> bool:
    return bool(middle) and (rate or 0.0) * ODD <= (middle or 0.0)


def _late(trip: float | None, middle: float | None) -> bool:
    return trip is not None and middle is not None and trip >= max(middle * ODD, middle + NOTICED)


def _typical(rates: Iterable[float | None]) -> float | None:
    """Return the median; of two the higher one, so that a machine isn't odd for its only peer's sake."""
    found = sorted(rate or 0.0 for rate in rates)
    return found[len(found) // 2] if found else None


def _low(values: Iterable[float | None]) -> float | None:
    found = sorted(value for value in values if value is not None)
    return found[(len(found) - 1) // 2] if found else None


def _trips(directions: Iterable[Direction]) -> float | None:
    return _low(one.latency for one in directions)


def _rate(one: Direction) -> float | None:
    return one.rate


def _sender(one: Direction) -> str:
    return one.sender


def _receiver(one: Direction) -> str:
    return one.receiver


def _names(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
