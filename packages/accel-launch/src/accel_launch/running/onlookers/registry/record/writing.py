"""What the files of a record hold, and how they are written."""

from __future__ import annotations

import os
import time

from accel_launch.machine.clock import steady
from accel_launch.machine.files import read
from accel_launch.ranks.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from accel_launch.inspecting.subject import Subject
    from accel_launch.planning.types import Plan
    from accel_launch.running.output.channel import Channel

    Sample = tuple[float, float]
    """A time in seconds since the epoch, and the seconds of CPU until then."""

VERSION = 1  # of the form of the files
PACE = 1.0  # seconds between two samples of what the ranks use
SELDOM = 10.0  # the same where each is a run of `ps`
LATER = 0.2  # of the time without a sign of ranks, until they are looked at again
WIDEST, CUT = 200, "..."  # characters of a last line, and what stands where it is longer
STANDARD = 2  # the last of the standard streams
CONNECTIONS = ("socket:", "/dev/nvidia", "/dev/kfd", "/dev/accel")
"""What a process opens once it has imported its libraries: how the names of such descriptors begin."""


class Files:
    """The files of a record."""

    def __init__(self, path: str) -> None:
        """Take the folder."""
        self.path = path

    def append(self, name: str, text: str) -> None:
        """Add whole lines to a file.

        Raises:
            OSError: it can't be written.
        """
        self._write(name, os.O_APPEND, text)

    def put(self, name: str, text: str) -> None:
        """Write a file whole or not at all.

        Raises:
            OSError: it can't be written.
        """
        part = f"{name}.part"
        try:
            self._write(part, os.O_TRUNC, f"{text}\n")
        except OSError:
            try:
                os.unlink(os.path.join(self.path, part))
            except OSError:
                pass  # it couldn't even be made
            raise
        os.replace(os.path.join(self.path, part), os.path.join(self.path, name))

    def _write(self, name: str, how: int, text: str) -> None:
        how |= os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(os.path.join(self.path, name), how, 0o600)
        size = os.fstat(fd).st_size
        try:
            data = text.encode(errors="replace")
            while data:
                data = data[os.write(fd, data) :]
        except OSError:
            os.ftruncate(fd, size)  # what is there is whole
            raise
        finally:
            os.close(fd)


def described(plan: Plan, began: float) -> dict[str, object]:
    """Return what a run is, and how it was started, without secrets."""
    from accel_config.showing.masking import command_line, sentence
    from accel_launch.planning import explain

    machine = None if plan.lifeline is None else {"number": plan.lifeline.machine, "of": plan.lifeline.machines}
    return {
        "version": VERSION,
        "command": command_line(plan.recording.command),
        "folder": _folder(),
        "host": os.uname().nodename,
        "machine": machine,
        "launcher": os.getpid(),
        "began": began,
        "plan": {
            "engine": plan.engine,
            "summary": sentence(plan.summary),
            "commands": explain.commands(plan),
            "ranks": plan.hosted or len(plan.commands),
            "terminals": plan.display.terminals,
            "grace": plan.grace,
            "max_restarts": plan.restarting.most,
        },
    }


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


class Ranks:
    """What the ranks of an attempt do, as the launcher sees it."""

    def __init__(self, last: str = "") -> None:
        """Know none yet; the ``last`` line is that of an earlier attempt."""
        self.last = last
        self.subjects: Callable[[], Sequence[Subject]] = tuple
        self.channels: Mapping[int, Sequence[Channel]] = {}
        """Those of each local rank, and of an engine."""
        self.samples: tuple[Sample | None, Sample | None] = (None, None)
        """What CPU time they had used, and when, the last two times."""
        self.connected, self.began = False, time.monotonic()
        """Whether they have printed something, or opened a connection; and when they were first heard of."""
        self.next = self.began + PACE
        """When to look for a connection."""
        self.became: set[int] = set()
        """The processes that are no forks of ours any more."""
        self.ticks: dict[int, int] = {}
        """When each one's process started, by pid."""

    def facts(self) -> dict[str, object]:
        """Return who runs, a sample of the CPU time until a second ago or longer, and the last line."""
        running = [one for one in self.subjects() if not one.ended]
        ranks = [[one.rank, one.pid, self._started(one.pid)] for one in running]
        last, now = self.samples[1], steady()
        if running and (last is None or now - last[0] >= (PACE if calls.LOOKS else SELDOM)):
            seen = [calls.usage(one.pid) for one in running]
            self.samples = last, (now, sum(found[0] for found in seen if found is not None))
        return {"ranks": ranks, "sample": self.samples[0], "line": self.line()}

    def connects(self) -> bool:
        """Look, where it is due, and return whether one of them has just opened a connection, or a device."""
        now = time.monotonic()
        if self.connected or self.next > now:
            return False
        self.next = now + max(PACE, LATER * (now - self.began))
        self.connected = any(self._connected(one.pid) for one in self.subjects() if not one.ended)
        return self.connected

    def _connected(self, pid: int) -> bool:
        if pid not in self.became:
            if read(f"/proc/{pid}/cmdline") == read("/proc/self/cmdline"):
                return False  # a fork of ours that hasn't become the rank yet
            self.became.add(pid)
        return _connected(pid)

    def _started(self, pid: int) -> int:
        if pid not in self.ticks:
            facts = calls.look(pid)
            self.ticks[pid] = 0 if facts is None else facts[2]
        return self.ticks[pid]

    def line(self) -> str:
        """Return the last line of the ranks; that of an earlier attempt if these have printed none yet."""
        return last_line([channel for found in self.channels.values() for channel in found]) or self.last


def last_line(channels: Sequence[Channel]) -> str:
    """Return the line that came last, of a progress bar too; one that isn't whole if it is shown, or the only one."""
    latest = max(channels, key=lambda channel: channel.written_at, default=None)
    if latest is None:
        return ""
    lines = latest.end.decode(errors="replace").replace("\r", "\n").split("\n")
    shown = lines if lines[-1].strip() and not latest.line else lines[:-1]  # its end doesn't come
    place = next((place for place in reversed(range(len(shown))) if shown[place].strip()), len(lines) - 1)
    line, begins = lines[place], place or latest.written <= len(latest.end)
    if len(line) <= WIDEST:
        return line
    return line[: WIDEST - len(CUT)] + CUT if begins else CUT + line[len(CUT) - WIDEST :]


def _connected(pid: int) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        opened = [os.readlink(os.path.join(folder, fd)) for fd in os.listdir(folder) if int(fd) > STANDARD]
    except OSError:  # it has ended, or has just closed one
        return False
    return any(name.startswith(CONNECTIONS) for name in opened)
