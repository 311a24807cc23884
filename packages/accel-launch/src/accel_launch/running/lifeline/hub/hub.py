"""The main machine's side of the lifeline: which machines live, and which failure came first."""

from __future__ import annotations

import select
import time

from accel_launch.running.lifeline.hub.peers import SHOWN, Roster
from accel_launch.running.lifeline.hub.reception import Reception
from accel_launch.running.lifeline.hub.restarts import Restarts
from accel_launch.running.lifeline.hub.run_end import RunEnd
from accel_launch.running.lifeline.messages import clean
from accel_launch.running.lifeline.remote_failure import LOST, UNLIKE, RemoteFailure
from accel_launch.running.lifeline.waiting import named
from accel_launch.running.report.judging import NOTICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_launch.running.lifeline import Lifeline


class Hub:
    """Listens for the other machines, and ends the run for all."""

    def __init__(self, line: Lifeline, host: str, secret: bytes | None) -> None:
        """Listen; if the port is taken, the run has no lifeline, and a note."""
        self.line = line
        self.roster = Roster(line.machines)
        self.restarts = Restarts()
        self.end = RunEnd(line, self.roster)
        self.reception = Reception(line, host, secret, self.roster, self.restarts, self.end)
        self.notes = self.reception.notes
        self.ticked = time.monotonic()

    @property
    def missing(self) -> tuple[int, ...] | None:
        """The machines that haven't come; None if that can't be known."""
        return self.roster.missing if self.reception.entrance.listeners else None

    @property
    def ending(self) -> bool:
        """Whether the run has to end."""
        return self.end.since is not None

    @property
    def free(self) -> bool:
        """Whether ranks may start here: the machines have been compared."""
        return self.reception.comparison.open

    @property
    def grace(self) -> float:
        """Seconds that ranks get to end by themselves."""
        return self.end.grace

    @property
    def first(self) -> RemoteFailure | None:
        """The first failure anywhere, once it is known."""
        return self.end.first

    @property
    def lost(self) -> bool:
        """Whether a lost machine ends the run."""
        return self.end.lost

    @property
    def settled(self) -> bool:
        """Whether nothing is left to wait for once the run is over here."""
        if self.ending:
            return self.first is not None
        return not self.reception.entrance.listeners or not (self.roster.present or self.roster.lost)

    def wants(self) -> dict[int, int]:
        """Return what to wait for, by descriptor."""
        wanted = dict.fromkeys(self.reception.entrance.open, select.POLLIN)
        for fd, peer in self.roster.peers.items():
            wanted[fd] = select.POLLIN | (select.POLLOUT if peer.link.going else 0)
        return wanted

    def handle(self, ready: Mapping[int, int]) -> None:
        """Receive what is ready."""
        self.reception.handle(ready)
        self._compare()

    def tick(self) -> None:
        """Send heartbeats, and look for machines that don't."""
        now = time.monotonic()
        suspended = now - self.ticked > self.line.silence / 3
        self.ticked = now
        for fd, peer in list(self.roster.peers.items()):
            if suspended:
                peer.received = now  # this launcher was suspended itself: messages still wait to be read
            silent = now - peer.received
            if peer.machine is not None and silent > self.line.silence:
                self._dead(peer.machine, peer.host, f"silent for {silent:.0f} s", -silent)
                self.roster.drop(fd)
        self.reception.sweep()
        self._compare()
        for machine, lost in list(self.roster.lost.items()):
            if now - lost.since > self.line.pause:
                del self.roster.lost[machine]
                self._dead(machine, lost.host, "its launcher is gone", lost.since - now - NOTICE)
        self.roster.broadcast(kind="beat", missing=self.roster.missing[:SHOWN])
        self._give_up_restart(now)
        complete = not self.roster.lost and self.roster.finished >= {0, *self.roster.present}
        self.end.decide(now, complete=complete)

    def ranks_ended(self, well: bool, restarting: RemoteFailure | None) -> None:
        """Take whether the ranks here have ended well, or will be restarted after a failure."""
        self.restarts.update(0, well, restarting)

    def failed(self, failure: RemoteFailure) -> None:
        """Take a failure of this machine: the run ends."""
        self.end.add(failure)

    def over(self, failure: RemoteFailure | None) -> None:
        """Take the end of the run here, by a failure or without one."""
        self.roster.finished.add(0)
        if failure is not None:
            self.failed(failure)
        elif not self.ending:
            self.roster.broadcast(kind="done")

    def close(self) -> None:
        """Close all connections."""
        self.reception.entrance.close()
        self.roster.close()
        self.reception.refusals.end()

    def _compare(self) -> None:
        """Compare the machines that have come, as far as that is due."""
        if not self.ending:
            self.reception.comparison.step(self._dismiss)

    def _dismiss(self, reasons: dict[int, str], whole: str) -> None:
        """Refuse machines that differ too much: the run ends, unless it can do without them."""
        machine = min(reasons)
        if self.line.least == self.line.machines:
            cause = clean(f"{UNLIKE}{whole}")
            self.end.add(RemoteFailure(machine, self.roster.hosts.get(machine, ""), time.time(), 1, cause))
        else:
            self.notes.append(f"refused {named(tuple(sorted(reasons)))}: {whole}")
        self.reception.dismiss(reasons)

    def _dead(self, machine: int, host: str, why: str, ago: float) -> None:
        """End the run because a machine is lost, unless it can go on with those that are left."""
        if machine in self.roster.finished:
            return
        left = 1 + len(set(self.roster.present) - {machine})
        if self.line.least <= left and self.line.least < self.line.machines:
            self.notes.append(f"machine {machine} (host {host}) is lost ({why}); the run goes on with the others")
            self.roster.seen.discard(machine)
            return
        cause = f"machine {machine}{LOST}{why}"
        self.end.add(RemoteFailure(machine, host, time.time() + ago, 1, cause), lost=True)

    def _give_up_restart(self, now: float) -> None:
        """End the run if some machines want to restart their ranks and others have finished theirs."""
        blocking = self.restarts.blocking(now, self.roster.finished - set(self.end.failures))
        if blocking and not self.ending:
            note = f"ranks can't be restarted, because those of {named(blocking)} have ended: the run ends"
            self.notes.append(note)
            self.roster.broadcast(kind="note", text=clean(note))
            self.end.add(self.restarts.first)
