"""What a guardian runs."""

from __future__ import annotations

import os

from accel_config.record import Record

PORT, COUNT = "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT"
CHANGING = (PORT, COUNT)
"""Variables that each attempt has anew."""


class Spawn(Record):
    """A rank as the guardian starts it."""

    rank: int
    argv: tuple[str, ...]
    environ: dict[str, str]
    cwd: str | None
    streams: tuple[int, int, int]
    """File descriptors for its standard input, output and error."""
    cpus: str = ""
    """The CPUs that it is bound to; empty if it isn't."""
    tooled: bool = False
    """Whether a tool stands before the rank."""


class Forked(Record):
    """Ranks that wait for a guardian which was started together with them."""

    pids: tuple[int, ...]
    """Those of all ranks in their order, or none."""
    opening: int
    """The descriptor that opens the gate at which they wait, a byte for each."""
    why: str
    """Why there are none."""


class Workload(Record):
    """The ranks of one machine, and how they end."""

    spawns: tuple[Spawn, ...]
    grace: float
    """Seconds between asking ranks to end and killing them."""
    ignored: frozenset[int]
    """Signals that the launcher was started with as ignored; they stay so for ranks."""
    record: int | None
    """Descriptor of the file in which an engine's ranks are recorded; see `accel_launch.ranks.parent`."""
    together: bool
    """Whether the failure of one rank terminates the others."""
    preload: tuple[str, ...]
    """Modules to import once, before the ranks are forked."""
    scratch: str
    """The path of a folder that an engine may make; see `accel_launch.ranks.module`."""
    debugged: int | None = None
    """The rank that has the terminal for a debugger."""
    launcher: int = 0
    """The pid of the launcher, which looks at what ranks do."""
    caller: int | None = None
    """Descriptor of the pipe from who has called the launcher, at whose end everything is killed."""
    parked: int = -1
    """Descriptor of the socket for the process that keeps what was imported for later attempts; -1 for none."""
    forked: Forked | None = None
    """The ranks, if they are there before the guardian."""

    folders: tuple[str, ...] = ()
    """The paths of folders that the launcher removes itself, unless it has been killed."""

    def tidy(self, *, alone: bool = False) -> None:
        """Remove the engine's folder, which an engine that was killed leaves; ``alone``, also the launcher's."""
        for path in (self.scratch, *(self.folders if alone else ())):
            if path and os.path.isdir(path):
                import shutil

                shutil.rmtree(path, ignore_errors=True)
