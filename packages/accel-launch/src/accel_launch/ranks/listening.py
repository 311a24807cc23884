"""A TCP port of this machine, for IPv6 and IPv4 at once."""

from __future__ import annotations

import socket


def bind(port: int, backlog: int | None = None, *, address: str | None = None) -> socket.socket:
    """Return a socket bound to ``port`` on every address of this machine; port 0 takes a free one.

    The socket listens where a ``backlog`` is given. Without IPv6 it is one of IPv4. A numeric ``address`` binds only
    that one.

    Raises:
        OSError: the port is taken, or this machine has no network.
    """
    failure = OSError(0, "neither IPv6 nor IPv4 is available")
    every = ((socket.AF_INET6, "::"), (socket.AF_INET, ""))
    one = ((socket.AF_INET6 if ":" in (address or "") else socket.AF_INET, address or ""),)
    for family, name in every if address is None else one:
        try:
            bound = socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # a kernel without IPv6
            continue
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            bound.bind((name, port))
            if backlog is not None:
                bound.listen(backlog)
        except OSError as error:
            failure = error
            bound.close()
            continue
        return bound
    raise failure
