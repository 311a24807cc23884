"""The guardian's events, as the supervisor reads them."""

from __future__ import annotations

import os

from accel_config.showing.printable import one_line
from accel_launch.running.report.records import Ending, Event, unstarted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class EventReader:
    """Reads events, and keeps what they report."""

    def __init__(
        self,
        fd: int,
        rank_of: Callable[[int], int],
        notify: Callable[[Event], object] | None,
        print_line: Callable[[str], None],
    ) -> None:
        """Read from ``fd``; ``notify`` about ranks that start or end; print notes at once."""
        self.fd, self.rank_of, self.notify, self.print_line = fd, rank_of, notify, print_line
        self.endings: list[Ending] = []
        """How processes of the guardian have ended, in that order."""
        self.pids: dict[int, int] = {}
        self.unstarted: list[str] = []
        self.notes: list[str] = []
        """Notes to print at the end."""
        self.printed: list[str] = []
        self.awaited = False
        """Whether a rank has failed, and the guardian waits for our word before it terminates the others."""
        self.late = False
        """Whether ranks may outstay the grace, and are to be looked at in case that it is too late then."""
        self.overdue = False
        """Whether ranks outstay the grace, and are to be looked at before they are killed."""
        self.guardian = 0
        """The guardian's pid, which names the ranks' session, where orphans are found by that."""
        self.done = False
        """Whether the guardian has finished its work."""

    def read(self) -> bool:
        """Read events; return False at the end of file."""
        data = os.read(self.fd, 65536)
        while data and not data.endswith(b"\n"):
            more = os.read(self.fd, 65536)
            if not more:
                break
            data += more
        for line in data.decode(errors="replace").split("\n"):  # a message may hold other ends of lines
            self._take(line)
        return bool(data)

    @property
    def pids_by_rank(self) -> dict[int, int]:
        """The pid of each rank that was started."""
        return {self.rank_of(place): pid for place, pid in self.pids.items()}

    def tell(self, event: Event) -> None:
        """Tell the caller of an event."""
        if self.notify is not None:
            self.notify(event)

    def note(self, text: str) -> None:
        """Print a note at once, and keep it for the report."""
        self.printed.append(text)
        self.print_line(f"accel: note: {one_line(text)}\n")

    def _take(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        first, _, rest = rest.partition(" ")
        if kind == "started":
            place, self.pids[int(first)] = int(first), int(rest)
            self.tell(Event(kind, self.rank_of(place), place, int(rest)))
        elif kind == "ended":
            status, _, at = rest.partition(" ")
            place = int(first)
            pid, rank = self.pids[place], self.rank_of(place)
            ending = Ending.from_wait_status(rank, place, pid, int(status), float(at))
            self.endings.append(ending)
            self.awaited = self.awaited or bool(ending.status)
            self.tell(Event(kind, rank, place, pid, ending))
        elif kind == "unstarted":
            self.unstarted.append(f"{unstarted(self.rank_of(int(first)))}{rest}")
        elif kind == "left":
            self.notes.append(f"terminated a process that the script left running: {rest} (pid {first})")
        elif kind == "note":
            self.note(line.partition(" ")[2])
        elif kind == "late":
            self.late = True
        elif kind == "overdue":
            self.overdue = True
        elif kind == "guardian":
            self.guardian = int(first)
        elif kind == "done":
            self.done = True
