"""The connection with one machine: its ssh, or its launcher itself on this machine, and what both sides say.

The machine's launcher writes to its standard error like its ranks do. What it says to us is in lines with a mark that
only the two sides know. What it reads is a line for each step, and a byte for each signal once the ranks run.
"""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from itertools import chain

from accel_launch.hosts.carrying.wire import SILENCE, USAGE
from accel_launch.ranks.signals import here
from accel_launch.ranks.system import calls
from accel_launch.running.output.channel import Channel
from accel_launch.running.output.markers import Markers
from accel_launch.running.supervising.calling_process import ALIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from accel_launch.hosts.assigning import Place
    from accel_launch.running.output.router import OutputRouter
    from accel_launch.running.output.stream import Stream

LONGEST = 1 << 22  # bytes of a line for us: the endings of a machine's ranks
KEPT = 1 << 14  # bytes of what is printed before the ranks run
AT_ONCE = 16  # pieces of what is carried to one machine before the next one gets some
FIRST = 10.0  # seconds more for the first one: the launcher starts its ranks before
DRAIN = 1.0  # seconds without anything new after which the output of an ssh that has ended is given up


class Error(Channel):
    """A machine's standard error: lines for us, and all else, which is shown only while its ranks run."""

    def __init__(self, fd: int, stream: Stream, mark: str, heard: Callable[[str], None]) -> None:
        """Read from ``fd`` for ``stream``; call ``heard`` with each line for us."""
        super().__init__(fd, stream)
        self.markers, self.heard = Markers(mark.encode(), LONGEST), heard
        self.open = False
        """Whether what isn't for us is shown."""
        self.before = bytearray()
        """What was printed before."""

    def _show(self, data: bytes) -> None:
        for part in self.markers.split(data):
            if isinstance(part, str):
                self.heard(part)
            else:
                self._others(part)

    def _others(self, data: bytes) -> None:
        if self.open and data:
            super()._show(data)
        elif len(self.before) < KEPT:
            self.before += data

    def close(self) -> None:
        """Show what is left, and close the descriptor."""
        self._others(self.markers.rest())
        super().close()


class Link:
    """One machine's connection, from its start to its end."""

    def __init__(self, place: Place, words: tuple[str, ...], router: OutputRouter, mark: str) -> None:
        """Start ``words``, which is ssh or the launcher itself.

        Raises:
            OSError: there is no such program, or the system has no more processes or descriptors.
        """
        self.place, self.machine, self.words = place, place.machine, words
        self.said: dict[str, dict[str, Any]] = {}
        """What the other side has said, by kind."""
        self.status: int | None = None
        """The exit status of ssh, as a shell gives it; None while it runs."""
        self.ended_at = 0.0
        """When it ended, or was seen to have, in seconds since the epoch."""
        self.heard = 0.0
        """When the other side last gave a sign of life, in monotonic seconds."""
        self.silent = False
        """Whether it was given up because it gives none."""
        theirs, self.input = os.pipe()
        os.set_blocking(self.input, False)  # we never wait for one machine
        out, their_out = os.pipe()
        err, their_err = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((theirs, their_out, their_err))]
        try:
            # A group of its own: what the terminal sends must not end the connection before the ranks.
            self.pid = os.posix_spawnp(
                words[0], words, os.environ, file_actions=actions, setpgroup=0, setsigdef=DEFAULTS
            )
        finally:
            for fd in (theirs, their_out, their_err):
                os.close(fd)
        self.handle = _handle(self.pid)
        self.going: Iterator[bytes] | None = None
        """What is still to be carried there."""
        self.piece = b""
        self.out, self.error = Channel(out, router.streams[0]), Error(err, router.streams[1], mark, self._hear)
        for number, channel in enumerate((self.out, self.error), 1):
            channel.local, channel.number = place.rank, number
            if router.caller is not None:  # the record of a detached run
                channel.stream = router.caller.stream
            router.channels.open[channel.fd] = channel
            router.channels.all.setdefault(place.rank, []).append(channel)
        self.router = router

    @property
    def name(self) -> str:
        """What messages call the machine."""
        return self.machine.label

    @property
    def host(self) -> str:
        """What the machine calls itself."""
        return str(self.said.get("ready", {}).get("host", self.name))

    def _hear(self, text: str) -> None:
        """Take a line for us; what isn't one of ours means nothing."""
        self.heard = time.monotonic()
        with suppress(ValueError, RecursionError):
            data = json.loads(text)
            if isinstance(data, dict) and isinstance(data.get("kind"), str):  # pyright: ignore[reportUnknownMemberType]
                self.said.setdefault(data.pop("kind"), data)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]

    def say(self, data: Mapping[str, object]) -> None:
        """Begin to send a line."""
        self.feed((json.dumps(data).encode() + b"\n",))

    def send(self, data: bytes) -> None:
        """Send a few bytes at once or not at all; if the other side is gone, its end or its silence will show it."""
        with suppress(OSError):
            os.write(self.input, data)

    def feed(self, pieces: Iterable[bytes]) -> None:
        """Begin to send what may be much, as fast as the machine takes it, while others get theirs."""
        self.going = chain(self.going or (), pieces)

    def pump(self) -> bool:
        """Send some of it; return whether any has gone."""
        gone = False
        try:
            for _ in range(AT_ONCE):
                self.piece = self.piece or next(self.going or iter(()), b"")
                if not self.piece:
                    self.going = None
                    break
                self.piece = self.piece[os.write(self.input, self.piece) :]
                gone = True
        except BlockingIOError:
            pass
        except OSError:  # the other side is gone, and its end will show it
            self.going = None
        return gone

    def run(self) -> None:
        """Let the ranks start; from now on, show what they print."""
        self.error.open = True
        self.send(b"go\n" + ALIVE)
        self.heard = time.monotonic() + FIRST

    def sign(self) -> None:
        """Give a sign of life, unless bytes are underway, which are one."""
        if self.going is None:
            self.send(ALIVE if self.error.open else b"\n")

    def check(self) -> None:
        """Kill ssh if the other side gives no sign of life though we read all that comes."""
        now = time.monotonic()
        if (
            self.status is not None
            or "result" in self.said
            or any(one.blocked for one in self.router.channels.open.values() if one.local == self.place.rank)
        ):
            self.heard = max(self.heard, now)
        elif now >= self.heard + SILENCE:
            self.silent = True
            self.kill()

    def hang_up(self) -> None:
        """Close the way there: whatever runs there is killed."""
        fd, self.input = self.input, -1
        if fd != -1:
            os.close(fd)

    def kill(self) -> None:
        """Kill ssh, or the launcher on this machine, which ends its ranks."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)

    def look(self) -> None:
        """Collect ssh if it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.status, self.ended_at = code if code >= 0 else 128 - code, time.time()
                self.hang_up()
                if self.handle is not None:
                    os.close(self.handle)
                    self.handle = None

    @property
    def refusal(self) -> tuple[int, list[str]]:
        """The status and the lines with which the machine has refused to take part; 0 if it hasn't."""
        refused: Any = self.said.get("refused")
        if refused is None:
            return 0, []
        status, lines = refused.get("status"), refused.get("lines")
        listed = [f"{self.name}: {line}" for line in lines] if isinstance(lines, list) else [self.name]  # pyright: ignore[reportUnknownVariableType]
        return status if status in range(1, 256) else USAGE, listed

    @property
    def reading(self) -> bool:
        """Whether there may be more of its output."""
        return any(channel.local == self.place.rank for channel in self.router.channels.open.values())

    @property
    def printed(self) -> str:
        """What came on standard error before the ranks were started."""
        return bytes(self.error.before).decode(errors="replace")


DEFAULTS = here("SIGPIPE", "SIGXFSZ", "SIGINT", "SIGTSTP")


def _handle(pid: int) -> int | None:
    try:
        return calls.open_handle(pid)
    except OSError:
        return None
