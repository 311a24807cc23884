"""Rank 0 of an Open MPI 4 says itself where it is, since nothing else does once mpirun was typed on another machine.

``python herald.py PORT WORD ASKERS PID`` goes into the background of rank 0's machine and answers whoever knows the
``WORD`` of this run; the other ranks ask on each machine that rank 0 may be on, until one answers. It is gone when
all have asked, soon after the rank ``PID``, or after a minute. That process is the standard library alone.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from functools import cache

LIFE = 60.0  # seconds
LINGER = 3.0  # seconds after the rank is gone: one that only printed its plan ends before others have asked
ARRIVAL = 30.0  # seconds for rank 0's launcher to start after another one's
TURN = 1.0  # seconds for one machine
PAUSE = 0.2  # seconds between two rounds


@cache  # a plan is made of it more than once
def ask(hosts: tuple[str, ...], port: int, word: str) -> str | None:
    """Return the first of ``hosts`` where rank 0 says that it is; None where it says so nowhere in time."""
    until = time.monotonic() + ARRIVAL
    while True:
        for host in hosts:
            if _says(host, port, word.encode() + b"\n"):
                return host
        if time.monotonic() > until:
            return None
        time.sleep(PAUSE)


def _says(host: str, port: int, line: bytes) -> bool:
    try:
        with socket.create_connection((host, port), timeout=TURN) as connection:
            connection.sendall(line)
            return _heard(connection, len(line)) == line
    except OSError:
        return False


def _heard(connection: socket.socket, size: int) -> bytes:
    """Return the next bytes that come, ``size`` at most: fewer if no more do."""
    got = b""
    while len(got) < size and (more := connection.recv(size - len(got))):
        got += more
    return got


def stand(port: int, word: str, askers: int, pid: int) -> None:
    """Answer on ``port`` from the background; return once it is listened to.

    Raises:
        OSError: nothing can listen there.
    """
    server = _listen(port)
    if os.fork():
        return
    os.setsid()
    for stream in (0, 1, 2):  # whoever waits for the end of ours isn't to wait for this
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    _answer(server, word.encode() + b"\n", askers, pid)
    os._exit(0)


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True)
    except (OSError, ValueError):  # no IPv6 here
        return socket.create_server(("", port), backlog=1024)


def _answer(server: socket.socket, line: bytes, askers: int, pid: int) -> None:
    until, gone = time.monotonic() + LIFE, False
    server.settimeout(TURN)
    while askers and time.monotonic() < until:
        try:
            connection, _address = server.accept()
            with connection:
                connection.settimeout(TURN)
                if _heard(connection, len(line)) == line:
                    connection.sendall(line)
                    askers -= 1
        except OSError:
            pass  # nobody asked, or somebody hung up
        if not gone and not os.path.exists(f"/proc/{pid}"):
            gone, until = True, min(until, time.monotonic() + LINGER)


if __name__ == "__main__":
    stand(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    sys.stdout.write("listening\n")
