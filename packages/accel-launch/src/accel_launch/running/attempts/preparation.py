"""What the supervisor makes before an attempt: pipes to the guardian; the ranks' streams, files and environments."""

from __future__ import annotations

import os

from accel_launch.machine.process_tree import DAEMON
from accel_launch.ranks.module import SCRATCH, scratch_path
from accel_launch.ranks.system import calls
from accel_launch.running.engine_record import EngineRecord, memory_file, read
from accel_launch.running.guardian.workload import Spawn, Workload
from accel_launch.running.output import terminals
from accel_launch.running.supervising.recordings import Recordings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from accel_launch.planning.types import Command, Plan
    from accel_launch.running.guardian.orders import Orders
    from accel_launch.running.output.channels import Channels
    from accel_launch.running.restarting.progress_files import ProgressFiles


class Preparation:
    """Everything that the guardian and the ranks get from the supervisor."""

    def __init__(self, plan: Plan, channels: Channels, orders: Orders) -> None:
        """Make it; ``orders`` lead to this attempt's guardian from now on.

        Raises:
            OSError: the system has no more descriptors, or a log file can't be created.
        """
        self.plan, self.channels, self.orders = plan, channels, orders
        self.guardians_orders, orders.fd = os.pipe()
        self.events, self.guardians_events = os.pipe()
        self.nothing = os.open(os.devnull, os.O_RDONLY)
        # In the background what is typed is the shell's, and no rank is stopped for reading it.
        self.stdin = os.dup(self.nothing if terminals.in_background() else 0)
        self.record = EngineRecord() if plan.hosted else None
        channels.record = self.record
        self.gate = memory_file("accel-gate") if plan.lifeline is not None and plan.lifeline.compared else None
        """Where ranks under an engine wait until it isn't empty."""
        self.error_files = [memory_file("accel-error") for _rank in range(plan.hosted or len(plan.commands))]
        self.progress = _progress_files(len(plan.commands)) if plan.restarting.most else None
        """Where ranks may write how far they are; only of a run that may be started again."""
        self.scratch = scratch_path()
        self.recordings = Recordings(plan, channels.logs.path)
        make = self._engine if plan.hosted else self._rank
        try:
            self.spawns = tuple(make(place, command) for place, command in enumerate(plan.commands))
        except OSError:
            self.remove()
            raise

    def workload(self, ignored: frozenset[int]) -> Workload:
        """Return what the guardian has to do; ranks go on ignoring the signals that the launcher ignored."""
        return Workload(
            spawns=self.spawns,
            grace=self.plan.grace,
            ignored=ignored,
            record=self.record.fd if self.record is not None else None,
            together=self.plan.together,
            preload=self.plan.preload or (),
            scratch=self.scratch,
            debugged=self.plan.display.debugged,
            folders=(calls.private(), self.recordings.private, "" if self.progress is None else self.progress.folder),
        )

    def rank_of(self, place: int) -> int:
        """Return the rank of a command, which is its place if it isn't numbered."""
        rank = self.plan.commands[place].rank
        return place if rank is None else rank

    def _rank(self, place: int, command: Command) -> Spawn:
        environ = self._environ(command)
        error_file = self.error_files[place]
        if ("RANK" in command.env or command.label) and error_file is not None:
            environ["TORCHELASTIC_ERROR_FILE"] = f"{calls.place()}/{error_file}"
        if self.progress is not None:
            environ.update(self.progress.variables(place))
        streams = self.channels.attach(self.rank_of(place), place, command.label)
        reader = self.plan.display.debugged
        ours = not place if reader is None else self.rank_of(place) == reader
        streams = (self.stdin if ours else self.nothing, *streams)
        return Spawn(place, command.argv, environ, command.cwd, streams, command.cpus, command.tooled)

    def _engine(self, _place: int, command: Command) -> Spawn:
        """Prepare an engine: its ranks open their streams, error files and the record below our own descriptors."""
        numbers: list[object] = [self.record and self.record.fd]
        for local in range(self.plan.hosted):
            numbers += [*self.channels.attach(self.plan.first_rank + local, local), self.error_files[local]]
        environ = self._environ(command)
        environ[SCRATCH] = self.scratch
        if self.gate is not None:
            environ["ACCEL_GATE"] = f"{calls.place()}/{self.gate}"
        environ["ACCEL_SUPERVISOR"] = f"{calls.place()} {' '.join(map(str, numbers))}"
        stdin, reader = self.stdin, self.plan.display.debugged
        if reader is not None:  # an engine that passes it on would take what is the rank's
            from accel_launch.ranks.debugging import INPUT

            calls.share(0)
            stdin, environ[INPUT] = self.nothing, f"{reader} {calls.place()}/0"
        return Spawn(0, command.argv, environ, command.cwd, (stdin, *self.channels.attach_engine()))

    def let_start(self) -> None:
        """Let the ranks start that wait for it."""
        if self.gate is not None:
            os.write(self.gate, b"\n")

    def error(self, local: int) -> str:
        """Return what a local rank left by torch's error-file protocol."""
        return read(self.error_files[local]) if local < len(self.error_files) else ""

    def recorded(self) -> dict[int, Any]:
        """Return what torch's flight recorder has left, by rank."""
        return self.recordings.read()

    def _environ(self, command: Command) -> dict[str, str]:
        """Return the command's whole environment: a launcher that is a daemon itself makes none of its ranks."""
        environ = {**os.environ, **command.env}
        environ.pop(DAEMON, None)
        return {**environ, **self.recordings.variables}

    def close_our_ends(self, others: Iterable[int]) -> None:
        """Close the descriptors that the guardian, just forked, must not have; ``others`` are the launcher's."""
        for fd in (self.orders.fd, self.events, *self.channels.open, *others):
            os.close(fd)

    def close_guardians_ends(self) -> None:
        """Close the descriptors that are the guardian's and the ranks' alone from now on."""
        for fd in (self.guardians_orders, self.guardians_events, self.stdin, self.nothing):
            os.close(fd)
        if not self.plan.hosted:
            self.channels.let_go()

    def close(self) -> None:
        """Close the rest, once the guardian is gone and what the ranks left was judged."""
        self.orders.hang_up()
        for fd in (self.events, self.record and self.record.fd, self.gate, *self.error_files):
            if fd is not None:
                os.close(fd)
        self.remove()

    def remove(self) -> None:
        """Remove the folders, once they are read."""
        if self.progress is not None:
            self.progress.close()
        self.recordings.close()
        calls.clear()


def _progress_files(ranks: int) -> ProgressFiles:
    from accel_launch.running.restarting.progress_files import ProgressFiles

    return ProgressFiles(ranks, os.environ)
