"""The local end of one worker's command: runs gcloud's connection and follows the command at its remote end.

`python -m accel_tpu.relay MARK ATTEMPTS GRACE gcloud …`. The supervisor runs one for each worker. The relay starts
the remote command once, forwards signals and output, and exits with the command's status. It writes its message to
the file TORCHELASTIC_ERROR_FILE, as torch's ranks do, and the launcher shows it in the table of workers.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

from accel_tpu.gcloud import NOT_FOUND, SSH_FAILED, Answer, Pod, complaint, missing
from accel_tpu.remote import Remote
from accel_tpu.shell import lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

VARIABLES = "ACCEL_TPU_VARIABLES"
FORWARDED = ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2")
ENDING = frozenset(("INT", "TERM", "HUP", "QUIT"))
NOT_STARTED = 254  # the remote end's status when it isn't allowed to begin
PAUSE = 5.0  # seconds between two attempts to connect
TAIL = 2.0  # seconds without output in which the connection must close after the command's end
KILL_AT, GIVE_UP_AT = 0.7, 0.9  # shares of the grace after which a command is killed, and the relay leaves it


class Relay:
    """Runs one connection after another until the command has begun, then that connection to its end."""

    def __init__(self, mark: str, attempts: int, grace: float, argv: Sequence[str]) -> None:
        """Take the mark of lines for the relay, the number of attempts, seconds of grace, gcloud's command line."""
        self.attempts, self.grace, self.argv = attempts, grace, tuple(argv)
        self.variables: dict[str, str] = json.loads(os.environ.pop(VARIABLES, "{}"))
        """The variables of the remote command. They come by ours, which only this user can read, unlike `argv`."""
        self.remote = Remote(mark.encode(), self.argv, os.environ.pop("TORCHELASTIC_ERROR_FILE", ""))
        self.unstarted = ""
        """Why gcloud can't be started."""
        self.closed = self.killed = False
        self.ending = 0
        """The signal that ends the relay."""
        self.deadlines: list[tuple[float, str]] = []
        self.wake, wakes = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes)
        for name in FORWARDED:
            signal.signal(getattr(signal, f"SIG{name}"), lambda _number, _frame: None)

    def run(self) -> int:
        """Run the command to its end and return the exit status of the relay."""
        for attempt in range(1, self.attempts + 1):
            status = self._connect()
            if self.remote.begun or self.ending or status != SSH_FAILED or attempt == self.attempts:
                return self._result(status)
            note = f"ssh can't connect (attempt {attempt} of {self.attempts}); next attempt in {PAUSE:g} seconds\n"
            _write(2, note.encode())
            self._pause()
            if self.ending:
                break
        return self._result(SSH_FAILED)

    # One connection.

    def _connect(self) -> int:
        """Run gcloud once, until its output ends or the last deadline passes; return its status."""
        self.remote.connect()
        ours: list[int] = []
        theirs: list[int] = []
        for place in range(3):
            read, write = os.pipe()
            ours.append(read if place else write)
            theirs.append(write if place else read)
        self.control, out, err = ours
        try:
            # A group of its own, so that its ssh can be terminated with it.
            gcloud = subprocess.Popen(self.argv, stdin=theirs[0], stdout=theirs[1], stderr=theirs[2], process_group=0)  # noqa: S603
        except OSError as error:
            self.unstarted = missing(error)
            return NOT_FOUND
        finally:
            for fd in theirs:
                os.close(fd)
        self._forward(out, err)
        for fd in ours:
            os.close(fd)
        status = _end(gcloud, patient=self.closed)
        return SSH_FAILED if self.remote.lost or status < 0 else status

    def _forward(self, out: int, err: int) -> None:
        poller = select.poll()
        open_ = {out, err}
        for fd in (out, err, self.wake):
            poller.register(fd, select.POLLIN)
        while open_ and not self.remote.lost and self._in_time():
            for fd, _events in poller.poll(self._timeout()):
                if fd == self.wake:
                    self._signals(os.read(fd, 64))
                elif not self._pass(fd, 1 if fd == out else 2):
                    poller.unregister(fd)
                    open_.discard(fd)
        self.closed = not open_
        _write(2, self.remote.rest())

    def _pass(self, fd: int, to: int) -> bool:
        """Forward the available output; return False at its end."""
        data = os.read(fd, 65536)
        _write(to, data if to == 1 else self._unmarked(data))
        if self.remote.status is not None:
            self.deadlines = [(time.monotonic() + TAIL, "leave")]  # from the last output on: our reader may be slow
        return bool(data)

    def _unmarked(self, data: bytes) -> bytes:
        """Return the command's part of standard error, and let the command begin once its shell is ready."""
        waiting = not self.remote.begun
        passed = self.remote.passed(data, refuse=bool(self.ending))
        if waiting and self.remote.begun:
            with suppress(OSError):  # if the connection is gone, its output ends too
                _write(self.control, lines(self.variables))
        return passed

    # Signals and time.

    def _signals(self, numbers: bytes) -> None:
        for number in numbers:
            name = signal.Signals(number).name.removeprefix("SIG")
            if name not in FORWARDED:
                continue
            if self.remote.begun:
                self._send(name)
            if name in ENDING and not self.ending:
                self.ending = number
                now = time.monotonic()
                if self.remote.begun and self.remote.status is None:
                    self.deadlines = [(now + KILL_AT * self.grace, "kill"), (now + GIVE_UP_AT * self.grace, "leave")]
                elif not self.remote.begun:
                    self.deadlines = [(now, "leave")]

    def _in_time(self) -> bool:
        """Act on deadlines that have passed; return False when the relay must leave."""
        while self.deadlines and self.deadlines[0][0] <= time.monotonic():
            _due, action = self.deadlines.pop(0)
            if action == "leave":
                return False
            self._send("KILL")
            self.killed = True
        return True

    def _timeout(self) -> float | None:
        # A day at most: the kernel counts milliseconds in 31 bits.
        return max(0.0, min(86400.0, self.deadlines[0][0] - time.monotonic())) * 1000 if self.deadlines else None

    def _pause(self) -> None:
        until = time.monotonic() + PAUSE
        while not self.ending and (left := until - time.monotonic()) > 0:
            if select.select([self.wake], [], [], left)[0]:
                self._signals(os.read(self.wake, 64))

    def _send(self, word: str) -> None:
        with suppress(OSError):  # if the connection is gone, its output ends too
            os.write(self.control, word.encode() + b"\n")

    # The result.

    def _result(self, status: int) -> int:
        remote = self.remote
        if remote.status is not None:
            return remote.status
        if not remote.begun:
            return self._not_begun(status)
        if self.ending:
            if self.killed and self.closed:
                remote.report("killed, because it didn't end in time")
            return 128 + self.ending
        if not remote.group:
            remote.report("the connection was lost before the command began")
        _write(2, bytes(remote.chatter) if remote.lost else b"")
        return status or SSH_FAILED

    def _not_begun(self, status: int) -> int:
        if self.ending:
            self.remote.report("not started")
            return 128 + self.ending
        chatter = bytes(self.remote.chatter)
        answer = Answer(status, "", chatter.decode(errors="replace"))
        self.remote.report(self.unstarted or complaint(answer, _pod(self.argv)))
        _write(2, chatter)
        return status or NOT_STARTED


def _end(gcloud: subprocess.Popen[bytes], *, patient: bool) -> int:
    """Terminate what is left of gcloud and its ssh, at once unless ``patient``; return gcloud's status."""
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
    """Return the pod of gcloud's command line, for a message."""
    words = list(argv)
    zone = words[words.index("--zone") + 1] if "--zone" in words else None
    name = words[words.index("ssh") + 1]
    return Pod(vms=(name,), zone=zone) if "tpu-vm" not in words else Pod(name, zone)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    _mark, _attempts, _grace, *_argv = sys.argv[1:]
    sys.exit(Relay(_mark, int(_attempts), float(_grace), _argv).run())
