"""Heartbeats between the launchers of a run over several machines, so that a failure anywhere ends it everywhere.

Each launcher holds a connection (`link`) to that of the main machine: `member` is its side, `hub` the main machine's.
The supervisor sees only `watch`. Torch's agents start and restart the ranks. If launchers can't reach each other, the
run goes on without the lifeline.
"""

from __future__ import annotations

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.lifeline.sameness.subject import Subject


class Lifeline(Record):
    """Where the launchers meet, and which of them this one is."""

    address: str
    """The main machine's, as it was given."""
    meeting: int
    """The port at which the ranks meet."""
    port: int
    """The port at which the launchers meet; 0 for no lifeline."""
    machine: int
    machines: int
    least: int
    """The machines that the run needs; fewer than `machines` if it is elastic."""
    run: str
    """The name of the run."""
    local: int = 0
    """The ranks of this machine."""
    total: int | None = None
    """The ranks of all machines; None if that is the sum of what each brings."""
    backend: str = ""
    """The rendezvous by which the agents meet."""
    timeout: float = 30.0
    """Seconds in which a failure anywhere has ended the run everywhere."""
    patience: float = 900.0
    """Seconds to wait for enough machines."""
    secret_file: str | None = None
    listen: tuple[str, ...] = ()
    """The main machine's addresses on the interface that leads to the others; none if it isn't known."""
    restarts: int = 0
    quiet: bool = False
    shared: bool = False
    """Whether what all launchers print comes to one place: the main one's line about absent machines is enough."""
    watched: bool = False
    """Whether the ranks here are watched for standing still."""
    subject: Subject | None = None
    """What this launcher describes of its machine, for the main one to compare."""

    @property
    def compared(self) -> bool:
        """Whether the machines are compared before ranks start."""
        return self.subject is not None and bool(self.port)

    @property
    def main(self) -> bool:
        """Whether this is the main machine."""
        return self.machine == 0

    @property
    def together(self) -> bool:
        """Whether the agents of all machines restart their ranks together when any of these fails."""
        return self.backend == "c10d" and self.restarts > 0 and self.least == self.machines

    @property
    def beat(self) -> float:
        """Seconds between two heartbeats."""
        return self.timeout / 30

    @property
    def silence(self) -> float:
        """Seconds without a heartbeat after which a machine is lost."""
        return self.timeout / 2

    @property
    def pause(self) -> float:
        """Seconds that a broken connection has to come back."""
        return self.timeout / 10

    def grace(self, *, lost: bool) -> float:
        """Return the seconds that ranks get to end by themselves; fewer if noticing a lost machine took long."""
        return self.timeout / 4 if lost else self.timeout * 2 / 3

    @property
    def place(self) -> str:
        """Where the ranks meet, in words."""
        return endpoint(self.address, self.meeting)

    @property
    def meeting_place(self) -> str:
        """Where the launchers meet, in words."""
        return endpoint(self.address, self.port)


def endpoint(address: str, port: int) -> str:
    """Return an address with a port, as a person reads it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
