"""A machine's part in trying the links: where it listens, and what it measures with its peer of each round.

In a round, both machines of a pair dial each other, one after the other. Who dials measures round trips, and then
sends as much as it can; who is dialed counts. So each direction has its own figures.
"""

from __future__ import annotations

import os
import time

from accel_launch.hosts.network.greeting import Greeting
from accel_launch.ranks import route
from accel_launch.ranks.listening import bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from typing import Any

CONNECT = 2.0  # seconds to connect
COMING = 6.0  # seconds for the other machine to come, which may be busy with something else
TRIPS, TRIPPING = 32, 0.1  # round trips at most, and the seconds in which they begin
SENDING = 0.2  # seconds of a direction's data
WARMING = 0.25  # of that, the share that isn't counted: a connection begins slowly
BLOCK = 1 << 18  # bytes at once
TRIP, DATA = b"t", b"d"


class Trial:
    """What this machine does for the launcher that leads the rounds."""

    def __init__(self) -> None:
        """Begin without anything."""
        self.server: socket.socket | None = None
        self.key = b""
        self.rank = 0

    def answer(self, order: Mapping[str, Any]) -> dict[str, object]:
        """Do what is asked for; return what to say."""
        if "key" in order:
            return self._listen(order)
        name = f"round {order['round']}"
        if "peer" not in order:
            return {"kind": name}
        peer, address = order["peer"], (str(order["at"][0]), int(order["at"][1]))
        there = Greeting(self.key, f"{name}, {self.rank} to {peer}")
        back = Greeting(self.key, f"{name}, {peer} to {self.rank}")
        received: dict[str, object] | None = None if order["first"] else self._receive(back)
        sent = self._send(there, address)
        return {"kind": name, "sent": sent, "received": self._receive(back) if received is None else received}

    def _listen(self, order: Mapping[str, Any]) -> dict[str, object]:
        self.key, self.rank = bytes.fromhex(order["key"]), order["rank"]
        interface, address = own_address(order["towards"], cpu=order["cpu"])
        why = "no interface is known that leads to the other machines"
        try:
            self.server = bind(0, 64, address=address or None) if interface or address else None
            if self.server is not None:
                self.server.setblocking(False)
        except OSError as error:
            why = f"no port of {address} can be opened ({error.strerror})"
        if self.server is None:
            return {"kind": "refused", "lines": [f"check_network: {why}"], "status": 2}
        return {
            "kind": "listening",
            "address": address,
            "port": self.server.getsockname()[1],
            "interface": interface,
        }

    def _send(self, greeting: Greeting, address: tuple[str, int]) -> dict[str, object]:
        """Return the median of the round trips in seconds, or why there is none."""
        try:
            with greeting.dial(address, CONNECT) as connection:
                trips = _trips(connection)
                _pour(connection)
        except OSError as error:
            return {"problem": error.strerror or str(error) or type(error).__name__}
        return {"latency": sorted(trips)[len(trips) // 2]}

    def _receive(self, greeting: Greeting) -> dict[str, object]:
        """Return the bytes a second that come, None if none do in time."""
        connection = None if self.server is None else greeting.accept(self.server, COMING)
        if connection is None:
            return {"rate": None}
        with connection:
            try:
                connection.settimeout(COMING)
                while (word := connection.recv(1)) == TRIP:
                    connection.send(word)
                return {"rate": _rate(connection) if word == DATA else None}
            except OSError:
                return {"rate": None}


def own_address(towards: str, *, cpu: bool) -> tuple[str, str]:
    """Return the interface that the ranks use, and its address: the one that the user names, else the route's."""
    known = {address: name for address, name in route.interfaces().items() if not address.startswith("fe80:")}
    for variable in route.VARIABLES if cpu else reversed(route.VARIABLES):
        for text in os.environ.get(variable, "").split(","):
            exact, prefix = text.startswith("="), text.lstrip("=")
            found = [
                (name, address)
                for address, name in known.items()
                if prefix and (name == prefix or (variable[0] == "N" and not exact and name.startswith(prefix)))
            ]
            if found:
                return next((one for one in found if (":" in one[1]) == (":" in towards)), found[0])
    way = route.towards(towards)
    return ("", "") if way is None else (way.interface, way.address)


def _trips(connection: socket.socket) -> list[float]:
    """Return how long round trips take; the first one wakes both sides, and counts only if it is alone.

    Raises:
        OSError: the connection is lost, or one takes too long.
    """
    connection.settimeout(COMING)
    trips, until = list[float](), time.perf_counter() + TRIPPING
    while not trips or (len(trips) < TRIPS and time.perf_counter() < until):
        began = time.perf_counter()
        connection.send(TRIP)
        if not connection.recv(1):
            raise OSError(0, "the connection was closed")
        trips.append(time.perf_counter() - began)
    return trips[1:] or trips


def _pour(connection: socket.socket) -> None:
    """Send as much as goes in the time for it, however little that is."""
    block, until = memoryview(bytes(BLOCK)), time.monotonic() + SENDING + 0.05
    connection.send(DATA)
    try:
        while (left := until - time.monotonic()) > 0:
            connection.settimeout(left)
            connection.send(block)
    except OSError:  # the time is over, or the other side's
        pass


def _rate(connection: socket.socket) -> float | None:
    """Return the bytes a second once the connection is warm; None if nothing comes in time."""
    room = bytearray(BLOCK * 4)
    began = now = marked = time.monotonic()
    whole = counted = 0
    try:
        while (left := began + SENDING - now) > 0:
            connection.settimeout(left)
            size = connection.recv_into(room)
            now = time.monotonic()
            if not size:
                break
            if now < began + SENDING * WARMING or not whole:
                marked, counted = now, 0
            else:
                counted += size
            whole += size
    except TimeoutError:
        now = time.monotonic()
    if counted and now > marked:
        return counted / (now - marked)
    return whole / (now - began) if whole else None
