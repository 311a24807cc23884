"""How the far side of ``--hosts`` speaks with the launcher that started it: lines both ways, and files from there.

With ``--sync_launcher`` it starts with the text of this file, so it needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

SILENCE = 15.0  # seconds without a sign of life after which the other side is lost
WAIT = 5.0  # seconds for a reader of what we say
AT_ONCE = 4096  # bytes that a pipe takes once it is writable
PIECE = 1 << 16  # bytes
USAGE = 2  # as `accel_config.errors.USAGE`


class Speaker:
    """Says something to the other side."""

    def __init__(self, mark: str) -> None:
        """Put ``mark`` before each line."""
        self.mark = mark

    def line(self, kind: object, **data: object) -> str:
        """Return what says it."""
        return f"{self.mark}{json.dumps({'kind': kind, **data})}\n"

    def say(self, kind: object, **data: object) -> None:
        """Say it; if nobody reads for a while, the other side is gone."""
        text = self.line(kind, **data).encode()
        poller = select.poll()
        poller.register(2, select.POLLOUT)
        try:
            while text and poller.poll(WAIT * 1000):
                text = text[os.write(2, text[:AT_ONCE]) :]
        except OSError:
            pass

    def refuse(self, *lines: str, status: int = USAGE) -> NoReturn:
        """Say why this machine can't take part, and leave."""
        self.say("refused", lines=lines, status=status)
        sys.exit(status)


class Listener:
    """Reads from the other side."""

    def __init__(self) -> None:
        """Take standard input, which ranks must not have."""
        self.fd = os.dup(0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self.poller = select.poll()
        self.poller.register(self.fd, select.POLLIN)

    def read(self, most: int) -> bytes:
        """Return some bytes; leave at the end of the other side, which is also its silence."""
        data = os.read(self.fd, most) if self.poller.poll(SILENCE * 1000) else b""
        if not data:
            sys.exit(1)
        return data

    def line(self, at_once: int = PIECE) -> str:
        """Return the next line that isn't empty, which is a sign of life.

        More may follow it only if bytes are read one ``at_once``.
        """
        data = bytearray()
        while not (data.endswith(b"\n") and data.strip()):
            data += self.read(at_once)
        return data.decode()

    def content(self, size: int) -> Iterator[bytes]:
        """Yield the next ``size`` bytes, within which there is no sign of life."""
        while size:
            data = self.read(min(size, PIECE))
            size -= len(data)
            yield data


def boot(
    hello: dict[str, Any], receive: Callable[[Listener, Speaker, dict[str, Any]], str]
) -> tuple[Listener, Speaker]:
    """Take the launcher's packages from the other side; return what `hosts.machine.main` goes on with."""
    listener, speaker = Listener(), Speaker(hello["mark"])
    sys.path.insert(0, receive(listener, speaker, hello["tree"]))
    return listener, speaker
