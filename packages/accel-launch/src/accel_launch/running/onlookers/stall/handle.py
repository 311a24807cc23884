"""The watcher as the launcher sees it: forked once the run has been quiet for a while, ended with the run."""

from __future__ import annotations

import os
import time

from accel_launch.machine import forks

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from accel_launch.inspecting.subject import Subject
    from accel_launch.running.engine_record import EngineRecord
    from accel_launch.running.onlookers.stall.moments import Absence, Audience, Hearing, Moments


QUIET = 0.1  # of the time after which standing still is told: then the watcher is forked
LONGEST = 30.0  # seconds of quiet after which it is forked at the latest
TRIES = 3  # watchers of a run, one after the other
LOST = "the process that looks for hangs has ended or takes nothing any more"


class StallWatch:
    """Looks after the watcher, and acts on what it tells."""

    def __init__(
        self,
        after: float,
        subjects: Callable[[], Sequence[Subject]],
        record: EngineRecord | None,
        audience: Audience,
        found_here: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            after: Seconds without progress after which standing still is told.
            subjects: Returns the ranks as they are now.
            record: The record of an engine's ranks, which the watcher reads itself; None if `changed` tells of ranks.
            audience: Who is told.
            found_here: Takes what the watcher finds in a run with ranks elsewhere, where it doesn't decide by itself.
        """
        self.after, self.subjects, self.record, self.audience = after, subjects, record, audience
        self.found_here = found_here
        self.output = time.monotonic()
        """When a rank last printed something, in monotonic seconds."""
        self.pid = 0
        self.reader = self.updates = -1
        self.moments: Moments | None = None
        """What is shared with the watcher; with the one before, if it has to be replaced."""
        self.absence: Absence | None = None
        """Whether the watcher comes back."""
        self.hearing: Hearing | None = None
        self.held = False
        """Whether nobody reads what a rank prints, and it has to wait."""
        self.lost = 0
        """How many watchers have ended by themselves."""
        self.stuck = False
        """Whether the watcher takes nothing any more."""

    @property
    def due(self) -> float | None:
        """Seconds until the watcher may have to be forked, or looked after; None if there is none any more."""
        if self.pid < 0:
            return None
        if self.hearing is not None and self.hearing.lines:
            return 0.0
        absence = self.absence if self.pid else None
        at = absence.next if absence is not None else self.output + min(QUIET * self.after, LONGEST)
        return max(at - time.monotonic(), 0.0)

    def printed(self) -> None:
        """Take notice that a rank has printed something."""
        self.output = time.monotonic()
        if self.moments is not None:
            self.moments.output.set(self.output)

    def hold(self, held: bool) -> None:
        """Take whether nobody reads what a rank prints, and it has to wait: then it doesn't stand still."""
        if held != self.held:
            self.held = held
            self.printed()
            if self.moments is not None:
                self.moments.held.set(float(held))

    def changed(self) -> None:
        """Tell the watcher, if it was forked, that a rank has started or ended; that counts as progress."""
        self.printed()
        self._send(_encode(self.subjects()) if self.pid > 0 else b"")

    def ask(self, number: int) -> None:
        """Ask the watcher what the ranks do: it answers by this number, or that something moves."""
        self._send(b"%d\n" % number)

    def _send(self, data: bytes) -> None:
        """Send the watcher something; it is given up if it is blocked for so long that its pipe is full."""
        if self.pid > 0 and not self.stuck:
            self.stuck = not _write(self.updates, data)

    def disturb(self) -> None:
        """Tell the watcher that ranks are stopped for a moment, which is no progress; also from a fork of us."""
        if self.moments is not None:
            self.moments.disturbed.set(time.monotonic())

    def step(self, poller: select.poll, ready: Sequence[tuple[int, int]]) -> None:
        """Fork the watcher if it is time, and act on what it tells; what goes wrong there ends no run."""
        try:
            if not self.pid and self.due == 0:
                self._fork(poller)
            elif self.absence is not None and self.pid > 0:
                self.stuck = self.stuck or self.absence.proven()
            if self.hearing is not None and self.hearing.lines:
                self.hearing.step()
            if self.stuck or (self.reader in dict(ready) and not self._read()):
                self._replace(poller)
        except (OSError, ImportError) as error:  # no descriptor is left, or another version is being installed
            self.end(poller)
            self.pid = -1
            self.audience.note(f"nobody looks for hangs any more: {error}")

    def _replace(self, poller: select.poll) -> None:
        """Go on with another watcher, which knows when something has moved; a few times."""
        self.end(poller)
        self.lost, self.stuck = self.lost + 1, False
        if self.moments is not None:
            self.output = max(self.output, self.moments.moved.get())
        self.pid = 0 if self.lost < TRIES else -1
        self.audience.note(f"{LOST}; {'another one follows' if self.pid == 0 else 'there is none now'}")

    def _fork(self, poller: select.poll) -> None:
        from accel_launch.running.onlookers.stall.moments import Absence, Hearing, Moments

        _load()
        self.hearing = Hearing(lambda: self.output, self.audience, self.found_here)
        self.moments = Moments.shared()
        self.absence = Absence(self.moments.back)
        self.moments.output.set(self.output)
        self.moments.held.set(float(self.held))
        parent, opened = os.getpid(), list[int]()
        try:
            opened += os.pipe()
            opened += os.pipe()
            self.pid = forks.fork()
        except OSError:
            for fd in opened:
                os.close(fd)
            self.printed()  # no process or descriptor is left: tried again after as much quiet
            return
        reader, writer, updates, self.updates = opened
        if self.pid == 0:
            try:
                _become(self, parent, writer, updates, self.moments)
            finally:
                os._exit(1)
        os.close(writer)
        os.close(updates)
        self.reader = reader
        os.set_blocking(reader, False)
        os.set_blocking(self.updates, False)
        poller.register(reader, 1)  # select.POLLIN

    def _read(self) -> bool:
        """Take what the watcher tells; return False if it has ended."""
        try:
            data = os.read(self.reader, 1 << 16)
        except BlockingIOError:
            return True
        if self.hearing is not None:
            self.hearing.add(data)
        return bool(data)

    def end(self, poller: select.poll) -> None:
        """End the watcher, if it was ever forked."""
        if self.pid <= 0:
            return
        poller.unregister(self.reader)
        os.close(self.updates)
        os.close(self.reader)
        self.reader = self.updates = -1
        forks.end(self.pid)
        self.pid = 0


def _encode(subjects: Sequence[Subject]) -> bytes:
    import json

    return json.dumps([[value for _name, value in subject] for subject in subjects]).encode() + b"\n"


def _become(watch: StallWatch, parent: int, writer: int, updates: int, moments: Moments) -> None:
    """Turn this fork of the launcher into the watcher."""
    from accel_launch.running.onlookers.forking import become_onlooker
    from accel_launch.running.onlookers.stall.keeping import Keeper
    from accel_launch.running.onlookers.stall.watcher import Watcher

    record = watch.record.fd if watch.record is not None else None
    become_onlooker(parent, b"accel-watcher", (writer, updates, record))
    watcher = Watcher(
        watch.after,
        watch.subjects(),
        watch.record,
        moments.last_output,
        lambda line: _write(writer, line),
        shared=watch.found_here is not None,
        disturbed=moments.disturbed.get,
        store=watch.audience.store,
    )
    watcher.away, watcher.moves = moments.back.set, moments.moved.set
    if watch.audience.writes is not None:
        watcher.keep = Keeper(watch.audience.writes, watch.audience.name).keep
    watcher.run(updates)


def _load() -> None:
    """Load what a standstill takes, as long as there are descriptors, and the files of this version."""
    import json  # noqa: F401  # pyright: ignore[reportUnusedImport]

    from accel_launch.inspecting import kernel, report  # noqa: F401  # pyright: ignore[reportUnusedImport]
    from accel_launch.machine import clock  # noqa: F401  # pyright: ignore[reportUnusedImport]
    from accel_launch.running.onlookers.stall import telling  # noqa: F401  # pyright: ignore[reportUnusedImport]
    from accel_launch.running.report import records  # noqa: F401  # pyright: ignore[reportUnusedImport]


def _write(fd: int, data: bytes) -> bool:
    """Write all; return False if there is no room, and a part may have been written."""
    try:
        while data:
            data = data[os.write(fd, data) :]
    except BlockingIOError:
        return False
    except OSError:
        pass  # the other side is gone, which the end of its pipe will show
    return True
