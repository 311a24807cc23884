"""Signals that end nothing, on their way from the launcher to the ranks."""

from __future__ import annotations

import os

from accel_launch.machine import process_tree
from accel_launch.ranks.signals import sent_to_all, signal
from accel_launch.ranks.system import calls
from accel_launch.running.engine_record import LIMIT, read, running_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from accel_launch.running.guardian.children import Children

PAUSES = (signal.SIGTSTP, signal.SIGCONT)


class Forwarder:
    """Passes signals on; those for ranks that still have to be forked wait."""

    def __init__(self, children: Children, record: int | None) -> None:
        """Take the children, and the file in which an engine's ranks are recorded."""
        self.children, self.record = children, record
        self.early: list[int] = []
        """Signals for ranks that aren't known yet."""

    def pass_on(self, number: int) -> None:
        """Send a signal to every rank."""
        if number in sent_to_all(os.environ):
            return
        server = self.children.fork_server
        if server is not None:
            self._keep(number)
            if number not in PAUSES:
                return
        elif self.record is not None:
            self._pass_to_parents(number, self.record)
            return
        ranks = list(self.children.ranks) if server is None else [server]
        for pid in _still_for(ranks, number):
            if number in PAUSES:
                try:
                    os.killpg(os.getpgid(pid) if pid in self.children.below else pid, number)
                except (ProcessLookupError, PermissionError):
                    continue
            else:
                self.children.send(pid, number)

    def interrupt(self, rank: int | None) -> None:
        """Send SIGINT to one rank: the one under a debugger."""
        if self.record is not None:
            self._pass_to_parents(signal.SIGINT, self.record, rank)
        for pid, number in self.children.ranks.items():
            if self.record is None and number == rank:
                self.children.send(pid, signal.SIGINT)

    def _keep(self, number: int) -> None:
        """Keep a signal for the ranks: the fork server may have forked them, but they are known only at its end."""
        if number in PAUSES:  # the last one counts
            self.early = [one for one in self.early if one not in PAUSES]
        self.early.append(number)

    def pass_on_early(self) -> None:
        """Pass on the signals that waited for the ranks."""
        for number in self.early:
            self.pass_on(number)

    def _pass_to_parents(self, number: int, record: int, one: int | None = None) -> None:
        """Send a signal to the ranks' parents under an engine, which itself would die of it; or to that of one."""
        below, running = process_tree.descendants(os.getpid()), running_in(read(record, LIMIT))
        for pid in _still_for(running, number):
            rank, parent = running[pid]
            if parent in below and one in (None, rank):
                process_tree.send_to(parent, below[parent], number)


def _still_for(ranks: Collection[int], number: int) -> Iterator[int]:
    """Yield the processes that a signal can be sent to, as each one's turn comes.

    The rank that has it first may let the others know, by a collective, and all end. Python drops its handlers then:
    whoever had one, and has none any more, would be killed by what it has answered, and its exit status lost.
    """
    caught = {pid for pid in ranks if number not in PAUSES and calls.catches(pid, number)}
    for pid in ranks:
        if pid not in caught or calls.catches(pid, number):
            yield pid
