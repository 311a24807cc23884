"""Who looks on while ranks run: the watcher for standing still, and the desk that answers questions about the run."""

from __future__ import annotations

import os

from accel_launch.ranks.system import calls
from accel_launch.running.guardian.orders import KILL, RELEASE
from accel_launch.running.onlookers.registry.folder import no_folder
from accel_launch.running.onlookers.showing import STALL, TIMEOUT, Showing
from accel_launch.running.onlookers.standstills import Standstills

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from accel_launch.inspecting.subject import Subject
    from accel_launch.planning.types import Plan
    from accel_launch.running.engine_record import EngineRecord
    from accel_launch.running.guardian.orders import Orders
    from accel_launch.running.lifeline.watch import Watch
    from accel_launch.running.onlookers.machines.gathering import Round
    from accel_launch.running.onlookers.machines.station import Station
    from accel_launch.running.onlookers.registry.desk import Desk
    from accel_launch.running.onlookers.registry.record.recorder import Recorder
    from accel_launch.running.onlookers.stall.glance import Glance
    from accel_launch.running.onlookers.stall.handle import StallWatch
    from accel_launch.running.onlookers.stall.telling import Stall
    from accel_launch.running.output.channels import Channels
    from accel_launch.running.supervising.event_reader import EventReader


class Onlookers:
    """They, and who shows ranks at their end, in the supervisor's loop. Without any of them the run goes on."""

    def __init__(self, plan: Plan, say: Callable[[str], None], orders: Orders, record: Recorder) -> None:
        """Take the plan, where to print, the orders to the guardian, and the record of the run."""
        self.plan, self.say, self.orders, self.recorder = plan, say, orders, record
        self.desk: Desk | None = None
        self.stall: StallWatch | None = None
        self.station: Station | None = None
        """What connects the onlookers of a run with ranks elsewhere."""
        self.glance: Glance | None = None
        self.failed = False
        """Whether a rank has failed, and what it had printed can be read in this turn."""

    def start(
        self,
        reader: EventReader,
        record: EngineRecord | None,
        channels: Channels,
        ending: Callable[[], bool],
        watch: Watch | None = None,
    ) -> None:
        """Look on an attempt from now on. All attempts of a run have one desk.

        Args:
            reader: The guardian's events.
            record: An engine's record of its ranks.
            channels: The output of the ranks.
            ending: Returns whether the run is about to end by a signal or a failure.
            watch: The lifeline of a run over several machines.
        """
        self.reader, self.record = reader, record
        self.showing = Showing(reader, record, self.plan, self.subjects, self.say)
        self.showing.kill = lambda: self.orders.send(KILL)
        if self.desk is None:
            self._open()
        self.recorder.ranks.subjects = self.subjects
        self.recorder.ranks.channels = channels.all
        self._look_at_timeouts(channels)
        name = self.desk.folder.name if self.desk is not None else ""
        self.standstills = Standstills(self.plan, name, channels.logs.path, reader, self.showing, self.glance, ending)
        if watch is not None or self.plan.watching.elsewhere:
            from accel_launch.running.onlookers.machines.station import Station

            self.station = Station(self.plan.watching.after, self.subjects, self.standstills)
            self.station.join(watch)
            self.standstills.broadcast = self.station.broadcast
        after = self.plan.watching.after if calls.LOOKS else 0.0
        if after and (self.record is not None or self.plan.commands[0].rank is not None):
            from accel_launch.running.onlookers.stall.handle import StallWatch

            found_here = None if self.station is None else self.station.found_here
            self.stall = StallWatch(after, self.subjects, self.record, self.standstills, found_here)
            if self.station is not None:
                self.station.ask = self.stall.ask

    def _open(self) -> None:
        from accel_launch.running.onlookers.registry.desk import Desk

        try:
            self.desk = Desk(self.recorder.open(), self._answer, self._gather)
        except OSError as error:
            self.reader.notes.append(f"{no_folder(error)}; `accelerate ps`, `stop` and `stacks` can't find it")

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Our own, which a guardian must not have."""
        folder = self.recorder.folder
        held = () if folder is None else (folder.held,)
        return held if self.desk is None else (self.desk.socket.fileno(), *held)

    def _look_at_timeouts(self, channels: Channels) -> None:
        """Look at all ranks when one complains in its output that it has waited too long for another."""
        if len(self.plan.commands) > 1 or self.plan.hosted > 1:
            from accel_launch.running.onlookers.stall.glance import Glance

            self.glance = Glance(self.subjects, self.orders)
            channels.on_timeout(self.glance.complained)

    @property
    def standing(self) -> Stall | None:
        """What the ranks were last seen doing when they waited for another; None if nobody has looked."""
        seen = self.glance.found if self.glance is not None else None
        return seen or self.standstills.last

    def subjects(self) -> Sequence[Subject]:
        """Return the ranks as they are now."""
        from accel_launch.running.onlookers.stall import subjects

        return subjects.own(self.reader) if self.record is None else subjects.recorded(self.record)

    def printed(self) -> None:
        """Take notice that a rank has printed something."""
        self.recorder.prints()
        if self.stall is not None:
            self.stall.printed()

    def changed(self) -> None:
        """Take notice that a rank has started or ended."""
        if self.stall is not None:
            self.stall.changed()

    @property
    def due(self) -> float | None:
        """Seconds until there is something to do again; None if there isn't."""
        if self.failed:
            return 0.0
        parts = (self.stall, self.desk, self.station, self.showing, self.standstills, self.recorder)
        all_due = [part.due for part in parts if part is not None]
        return min((each for each in all_due if each is not None), default=None)

    def step(self, poller: select.poll, ready: Sequence[tuple[int, int]]) -> None:
        """Do what is due."""
        if self.stall is not None:
            self.stall.step(poller, ready)
        if self.glance is not None:
            self.glance.step(poller, ready)
        if self.failed and not (self.glance is not None and self.glance.pid):
            self.orders.send(RELEASE)
        self.failed, self.reader.awaited = self.reader.awaited, False
        if self.desk is not None:
            self.desk.step(poller, ready)
        if self.station is not None:
            self.station.step(poller, ready)
        self.standstills.step()
        self.showing.step(poller, ready)
        self.recorder.step()

    def rest(self, poller: select.poll) -> None:
        """Stop looking on the attempt, and end all processes of ours: its guardian is gone."""
        if self.stall is not None:
            self.stall.end(poller)
        if self.glance is not None:
            self.glance.close(poller)
        if self.desk is not None:
            self.desk.dismiss()
        if self.station is not None:
            self.station.close(poller)
        self.showing.close(poller)
        self.standstills.step(over=True)
        self.stall = self.station = None

    def close(self, poller: select.poll) -> None:
        """Stop looking on the run."""
        self.rest(poller)
        if self.desk is not None:
            self.desk.close(poller)
        self.desk = None

    def _gather(self) -> Round | None:
        """Ask the other machines, for the fork that is about to answer."""
        return self.station.gather() if self.station is not None else None

    def _answer(self, question: Mapping[str, Any], others: Round | None) -> Mapping[str, Any]:
        """Answer a question; in a fork of the launcher."""
        from accel_launch.running.onlookers.registry import answers

        named = {"run": self.standstills.name, "launcher": os.getppid()}
        asked = (question, self.recorder, self.subjects(), self.station, others)
        return {**named, **answers.answer(*asked, watch=self.stall)}

    def shown_at_timeout(self, poller: select.poll) -> bool:
        """Show the ranks, once, before the run is ended because it takes too long; return whether that is done."""
        return self.showing.before(poller, TIMEOUT)

    def before_end(self, poller: select.poll, watch: Watch | None) -> bool:
        """Show the ranks, once, before the run is ended, where that is worth it; return whether that is done."""
        if self.standstills.unshown:
            return self.showing.before(poller, STALL)
        return self.showing.before(poller, watch.ends_by if watch is not None else "")
