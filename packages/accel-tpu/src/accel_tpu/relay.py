"""One worker's end on this machine: carries gcloud's connection, and knows of the command at the other end.

`python -m accel_tpu.relay MARK ATTEMPTS GRACE gcloud …`. The supervisor runs one for each worker. It lets the remote
command begin once, hands signals on to it through the connection, passes its output, and ends with its status. What
it has to say goes where torch's ranks put theirs, the file TORCHELASTIC_ERROR_FILE, and shows among the outcomes.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress

from .gcloud import NOT_FOUND, SSH_FAILED, Answer, Pod, complaint, missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HANDED_ON = ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2")
ENDING = frozenset(("INT", "TERM", "HUP", "QUIT"))
NOT_STARTED = 254  # the other end's status when nobody lets it begin
PAUSE = 5.0  # seconds between two attempts to connect
TAIL = 2.0  # seconds without output that the connection gets to close after the command's end
KILL_AT, GIVE_UP_AT = 0.7, 0.9  # shares of the grace after which a command that was asked to end is killed, given up
LONGEST_MARK = 512  # bytes of a line for us


class Relay:
    """Carries one connection after another until the command has begun; then that one to its end."""

    def __init__(self, mark: str, attempts: int, grace: float, argv: Sequence[str]) -> None:
        """Take what marks lines for us, how often to connect, the seconds to end in, and gcloud's command line."""
        self.mark, self.attempts, self.grace, self.argv = mark.encode(), attempts, grace, tuple(argv)
        self.word = os.environ.pop("TORCHELASTIC_ERROR_FILE", "")
        self.begun = False
        """Whether we have let the command begin."""
        self.group = self.unstarted = ""
        self.status: int | None = None
        """The command's own, once it has ended."""
        self.lost = self.closed = self.killed = False
        self.asked = 0
        """The signal that asked us to end."""
        self.deadlines: list[tuple[float, str]] = []
        self.wake, wakes = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes)
        for name in HANDED_ON:
            signal.signal(getattr(signal, f"SIG{name}"), lambda _number, _frame: None)

    def run(self) -> int:
        """Carry the command to its end and return the status that stands for it."""
        for attempt in range(1, self.attempts + 1):
            status = self._connect()
            if self.begun or self.asked or status != SSH_FAILED or attempt == self.attempts:
                return self._judge(status)
            self._say(f"ssh can't connect; next attempt in {PAUSE:g} seconds ({attempt} of {self.attempts} made)\n")
            self._pause()
            if self.asked:
                break
        return self._judge(SSH_FAILED)

    # One connection.

    def _connect(self) -> int:
        """Run gcloud once, to the end of its output or of our patience; return its status."""
        self.chatter = bytearray()
        """What gcloud and ssh say before the other end is ready."""
        self.rest = b""
        ours: list[int] = []
        theirs: list[int] = []
        for place in range(3):
            read, write = os.pipe()
            ours.append(read if place else write)
            theirs.append(write if place else read)
        self.line, out, err = ours
        try:
            # A group of its own, so that its ssh can be ended with it.
            gcloud = subprocess.Popen(self.argv, stdin=theirs[0], stdout=theirs[1], stderr=theirs[2], process_group=0)  # noqa: S603
        except OSError as error:
            self.unstarted = missing(error)
            return NOT_FOUND
        finally:
            for fd in theirs:
                os.close(fd)
        self._carry(out, err)
        for fd in ours:
            os.close(fd)
        status = _end(gcloud, patient=self.closed)
        return SSH_FAILED if self.lost or status < 0 else status

    def _carry(self, out: int, err: int) -> None:
        poller = select.poll()
        open_ = {out, err}
        for fd in (out, err, self.wake):
            poller.register(fd, select.POLLIN)
        while open_ and not self.lost and self._in_time():
            for fd, _events in poller.poll(self._timeout()):
                if fd == self.wake:
                    self._signals(os.read(fd, 64))
                elif not self._pass(fd, 1 if fd == out else 2):
                    poller.unregister(fd)
                    open_.discard(fd)
        self.closed = not open_
        _write(2, self._command_s(self.rest))

    def _pass(self, fd: int, to: int) -> bool:
        """Pass on what is there; False at the end of it."""
        data = os.read(fd, 65536)
        _write(to, data if to == 1 else self._marked(data))
        if self.status is not None:
            self.deadlines = [(time.monotonic() + TAIL, "leave")]  # from the last that came: our reader may be slow
        return bool(data)

    def _marked(self, data: bytes) -> bytes:
        """Take the lines for us out of standard error, and return what is the command's."""
        passed = b""
        data = self.rest + data
        while (place := data.find(self.mark)) >= 0 and (end := data.find(b"\n", place)) >= 0:
            passed += self._command_s(data[:place])
            self._hear(data[place + len(self.mark) : end].decode(errors="replace").split())
            data = data[end + 1 :]
        kept = _overlap(data, self.mark) if place < 0 else len(data) - place
        kept = 0 if kept > LONGEST_MARK else kept
        self.rest = data[len(data) - kept :]
        return passed + self._command_s(data[: len(data) - kept])

    def _command_s(self, data: bytes) -> bytes:
        """Return what the command wrote; what comes before it has begun is gcloud's talk, kept for a complaint."""
        if self.begun and self.group and self.status is None:
            return data
        self.chatter += data
        return b""

    def _hear(self, words: list[str]) -> None:
        match words:
            case ["ready"] if self.begun:
                self.lost = True  # gcloud has connected anew by itself: the command must not begin a second time
            case ["ready"] if not self.asked:
                self.begun = True
                self._order("go")
            case ["started", group, *host]:
                self.group = group
                where = host[0] if host else "the worker"  # which may have no `hostname`
                self._tell(f"no word of its end: it may still run on {where}; to end it: {self._ender()}")
            case ["ended", status]:
                self.status = int(status)
                self._tell("")
            case _:
                pass

    # Signals and time.

    def _signals(self, numbers: bytes) -> None:
        for number in numbers:
            name = signal.Signals(number).name.removeprefix("SIG")
            if name not in HANDED_ON:
                continue
            if self.begun:
                self._order(name)
            if name in ENDING and not self.asked:
                self.asked = number
                now = time.monotonic()
                if self.begun and self.status is None:
                    self.deadlines = [(now + KILL_AT * self.grace, "kill"), (now + GIVE_UP_AT * self.grace, "leave")]
                elif not self.begun:
                    self.deadlines = [(now, "leave")]

    def _in_time(self) -> bool:
        """Do what is due; False when it is time to leave."""
        while self.deadlines and self.deadlines[0][0] <= time.monotonic():
            _due, what = self.deadlines.pop(0)
            if what == "leave":
                return False
            self._order("KILL")
            self.killed = True
        return True

    def _timeout(self) -> float | None:
        return max(0.0, self.deadlines[0][0] - time.monotonic()) * 1000 if self.deadlines else None

    def _pause(self) -> None:
        until = time.monotonic() + PAUSE
        while not self.asked and (left := until - time.monotonic()) > 0:
            if select.select([self.wake], [], [], left)[0]:
                self._signals(os.read(self.wake, 64))

    def _order(self, word: str) -> None:
        with suppress(OSError):  # the connection may be gone, and the end of its output will say so
            os.write(self.line, word.encode() + b"\n")

    # What is known at the end.

    def _judge(self, status: int) -> int:
        if self.status is not None:
            return self.status
        if not self.begun:
            return self._not_begun(status)
        if self.asked:
            if self.killed and self.closed:
                self._tell("killed, for it didn't end in time")
            return 128 + self.asked
        if not self.group:
            self._tell("the connection was lost before the command began")
        _write(2, bytes(self.chatter) if self.lost else b"")
        return status or SSH_FAILED

    def _not_begun(self, status: int) -> int:
        if self.asked:
            self._tell("not started there")
            return 128 + self.asked
        said = self.chatter.decode(errors="replace")
        self._tell(self.unstarted or complaint(Answer(status, "", said), _pod(self.argv)))
        _write(2, bytes(self.chatter))
        return status or NOT_STARTED

    def _ender(self) -> str:
        """Return the command line that ends the remote command."""
        words = list(self.argv)
        place = words.index("--command") + 1
        sudo = "sudo " if words[place].startswith("exec sudo ") else ""
        words[place] = f"{sudo}kill -TERM -- -{self.group}"
        return shlex.join(words)

    def _tell(self, message: str) -> None:
        """Leave a word for the table of workers; it stands even if we are killed the next moment."""
        if self.word:
            with open(self.word, "w", encoding="utf-8") as file:  # noqa: PTH123  no path but a descriptor's
                file.write(json.dumps({"message": message}) if message else "")

    def _say(self, message: str) -> None:
        _write(2, message.encode())


def _end(gcloud: subprocess.Popen[bytes], *, patient: bool) -> int:
    """Return gcloud's status; what is left of it and its ssh is ended, at once unless we are ``patient``."""
    for number in (0, signal.SIGTERM) if patient else (signal.SIGTERM,):
        if number and gcloud.poll() is None:
            os.killpg(gcloud.pid, number)
        try:
            return gcloud.wait(TAIL)
        except subprocess.TimeoutExpired:
            continue
    os.killpg(gcloud.pid, signal.SIGKILL)
    return gcloud.wait()


def _pod(argv: Sequence[str]) -> Pod:
    """Return what gcloud's command line names, for a message."""
    words = list(argv)
    zone = words[words.index("--zone") + 1] if "--zone" in words else None
    name = words[words.index("ssh") + 1]
    return Pod(vms=(name,), zone=zone) if "tpu-vm" not in words else Pod(name, zone)


def _overlap(data: bytes, mark: bytes) -> int:
    """Return how many bytes at the end of ``data`` may be the beginning of ``mark``."""
    return next((n for n in range(min(len(data), len(mark) - 1), 0, -1) if data.endswith(mark[:n])), 0)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    _mark, _attempts, _grace, *_argv = sys.argv[1:]
    sys.exit(Relay(_mark, int(_attempts), float(_grace), _argv).run())
