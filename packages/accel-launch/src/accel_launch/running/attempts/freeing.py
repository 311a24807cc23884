"""Memory of devices that dead ranks still hold: a driver may need a moment to take it back.

A fork of the launcher asks the driver, because its answer may take long, or never come.
"""

from __future__ import annotations

import os
import time

from accel_launch.machine import forks

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Sequence
    from typing import NoReturn

LIMIT = 50.0  # seconds for the driver to take the memory back
SOON, LATE = 0.1, 1.0  # seconds between two questions, at first and at last


class Freeing:
    """Waits until no process of an attempt, all of which have ended, holds memory of a device."""

    def __init__(self, pid: int, reader: int, say: Callable[[str], None], poller: select.poll) -> None:
        """Take the fork that asks, and what it writes to: a line of pids after each question."""
        self.pid, self.reader, self.say, self.poller = pid, reader, say, poller
        self.until = time.monotonic() + LIMIT
        self.text = b""

    @classmethod
    def begin(cls, pids: Sequence[int], say: Callable[[str], None], poller: select.poll) -> Freeing | None:
        """Begin to wait for what processes of these pids held; return None where there is no way to know."""
        from accel_launch.machine import device_memory

        if not device_memory.known():
            return None
        reader, writer = os.pipe()
        try:
            pid = forks.fork()
        except OSError:
            os.close(reader)
            os.close(writer)
            return None
        if pid == 0:
            try:
                _ask(pids, writer)
            finally:
                os._exit(1)
        os.close(writer)
        poller.register(reader, 1)  # select.POLLIN
        return cls(pid, reader, say, poller)

    @property
    def left(self) -> float:
        """Seconds that this may still take."""
        return max(0.0, self.until - time.monotonic())

    def goes_on(self, ready: Sequence[tuple[int, int]]) -> bool:
        """Take what has come, and return whether there is something to wait for."""
        data = os.read(self.reader, 4096) if self.reader in dict(ready) else None
        self.text += data or b""
        if data != b"" and self.left:
            return True
        if not self.left:
            self.say(f"accel: note: {self._held()} after {LIMIT:g} s; the ranks start anyway\n")
        self.end()
        return False

    def _held(self) -> str:
        from accel_launch.machine.process_tree import title

        lines = self.text.decode().splitlines()
        if not lines:
            return "the driver doesn't say whether memory of the devices is free"
        held = ", ".join(f"pid {pid} ({title(int(pid))})" for pid in lines[-1].split())
        return f"memory of the devices is still held by {held}"

    def end(self) -> None:
        """End the fork."""
        self.poller.unregister(self.reader)
        os.close(self.reader)
        forks.end(self.pid)


def _ask(pids: Sequence[int], writer: int) -> NoReturn:
    """Ask the driver until the memory is free; in a fork of the launcher."""
    from accel_launch.machine import device_memory
    from accel_launch.running.onlookers.forking import become_onlooker

    become_onlooker(os.getppid(), b"accel-devices", (writer,))
    pause = SOON
    while held := device_memory.held(pids):
        os.write(writer, " ".join(map(str, sorted(held))).encode() + b"\n")
        time.sleep(pause)
        pause = min(2 * pause, LATE)
    os._exit(0)
