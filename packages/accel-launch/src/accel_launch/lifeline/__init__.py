"""What ties the launchers of a run over several machines together, so that it ends everywhere when it fails anywhere.

Each launcher holds a connection to that of the main machine (`member`), which knows who is there (`hub`); what goes
over it is in `link`. `watch` is all of it that the supervisor sees. Torch's agents start and restart the ranks; a run
whose launchers can't reach each other goes on without this.
"""

from __future__ import annotations

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Lifeline(Record):
    """Where the launchers meet, and who this one is."""

    address: str
    """Of the main machine, as it was given."""
    meeting: int
    """Port at which the ranks meet."""
    port: int
    """Port at which the launchers do; 0: they don't."""
    machine: int
    machines: int
    least: int
    """Machines without which the run isn't; fewer than `machines` where it is elastic."""
    run: str
    """Name of the run."""
    local: int = 0
    """Ranks of this machine."""
    total: int | None = None
    """Ranks that were asked for in all; None: as many as the machines bring."""
    backend: str = ""
    """By which rendezvous the agents meet."""
    timeout: float = 30.0
    """Seconds in which a failure anywhere has ended the run everywhere."""
    patience: float = 900.0
    """Seconds to wait until enough machines are there."""
    secret_file: str | None = None
    restarts: int = 0
    quiet: bool = False

    @property
    def main(self) -> bool:
        """Whether this is the main machine."""
        return self.machine == 0

    @property
    def together(self) -> bool:
        """Whether the agents of all machines start their ranks again at one time, when any of them fails."""
        return self.backend == "c10d" and self.restarts > 0 and self.least == self.machines

    @property
    def beat(self) -> float:
        """Seconds between two signs of life."""
        return self.timeout / 30

    @property
    def silence(self) -> float:
        """Seconds without one after which a machine is dead."""
        return self.timeout / 2

    @property
    def pause(self) -> float:
        """Seconds that a lost connection may take to come back."""
        return self.timeout / 10

    def grace(self, *, lost: bool) -> float:
        """Return the seconds that ranks get to end by themselves; fewer where it took long to notice the failure."""
        return self.timeout / 4 if lost else self.timeout * 2 / 3

    @property
    def place(self) -> str:
        """Where the ranks meet, in words."""
        return endpoint(self.address, self.meeting)

    @property
    def meeting_place(self) -> str:
        """Where the launchers meet, in words."""
        return endpoint(self.address, self.port)


class Told(Record):
    """The failure of a run, as one launcher tells it to another."""

    machine: int
    host: str
    at: float
    """Seconds since the epoch, by the main machine's clock."""
    status: int
    cause: str
    rank: int | None = None
    """None: it was no rank that failed."""
    local_rank: int = 0
    pid: int = 0
    device: str | None = None
    exception: str = ""
    where: str = ""
    log: str | None = None

    @property
    def who(self) -> str:
        """What failed, in words."""
        machine = f"machine {self.machine}" + (f" (host {self.host})" if self.host else "")
        return machine if self.rank is None else f"rank {self.rank} on {machine}"

    @classmethod
    def read(cls, data: Any) -> Told | None:
        """Return what a message holds, cleaned, as it is to be shown; None where it isn't a failure."""
        if not isinstance(data, dict) or not all(isinstance(data.get(name), kind) for name, kind in _WANTED.items()):  # pyright: ignore[reportUnknownMemberType]
            return None
        return cls(**{name: _cleaned(data.get(name)) for name in _WANTED})  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]


_WANTED: dict[str, Any] = {
    "machine": int,
    "host": str,
    "at": float,
    "status": int,
    "cause": str,
    "rank": (int, type(None)),
    "local_rank": int,
    "pid": int,
    "device": (str, type(None)),
    "exception": str,
    "where": str,
    "log": (str, type(None)),
}
LONGEST = 500  # characters of a text that goes over the line


def _cleaned(value: Any) -> Any:
    return clean(value) if isinstance(value, str) else value


def clean(text: str) -> str:
    """Return a text from another launcher as it may be shown: short, and without what would command a terminal."""
    return "".join(c if c.isprintable() else " " for c in text[:LONGEST])


def endpoint(address: str, port: int) -> str:
    """Return an address with a port, as a person reads it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
