"""The guardian's side of the fork server, the process that imports modules once for all ranks.

The other side is in ``ranks/fork_server``, which runs in the ranks' own interpreter. It forks the ranks, reports
their pids and ends. The ranks, now orphans, become children of the guardian, which opens the gate at which they wait.
From there on nothing distinguishes them from ranks that the guardian has forked itself. Where nobody adopts orphans
(macOS), the process stays their parent instead, and reports how they end.
"""

from __future__ import annotations

import os

from accel_launch.ranks import FORK_SERVER
from accel_launch.ranks.system import calls
from accel_launch.running.guardian.workload import CHANGING
from accel_launch.running.report.records import Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_launch.running.guardian.workload import Spawn

# Variables that native libraries, or the interpreter, read when they are loaded; nothing in Python sees such a read.
READ_EARLY = ("CUDA_", "GOMP_", "KMP_", "LD_", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON")
WHOLE = 1 << 16  # bytes that a pipe holds


class ForkServer:
    """The order to the process, the pipe of its events, and the gate that holds the ranks."""

    def __init__(self, spawns: Sequence[Spawn], modules: Sequence[str], launcher: int, parked: int = -1) -> None:
        """Write the order to import ``modules``, to fork a rank for each of ``spawns``, and to park a process.

        The ranks let ``launcher`` read what they do.

        Raises:
            OSError: the system has no more descriptors.
        """
        self.spawns, self.modules, self.launcher = spawns, modules, launcher
        self.control = parked
        self.shared, self.own = shared_and_own(spawns, changing=parked >= 0)
        self.early = [name for name in self.own if name.startswith(READ_EARLY)]
        self.order = calls.memory_file("accel-fork-server")
        self.pid = 0
        self.said = b""
        """What it has reported so far."""
        self.events, self.reporting = os.pipe()
        self.gate, self.opening = os.pipe()
        os.set_blocking(self.events, False)
        self._write()

    def _write(self) -> None:
        import marshal

        order = {
            "modules": list(self.modules),
            "own": self.own,
            "shared": self.shared,
            "guardian": os.getpid(),
            "launcher": self.launcher,
            "stays": not calls.ADOPTS,
            "ranks": [{"environ": spawn.environ, "streams": list(spawn.streams)} for spawn in self.spawns],
        }
        os.write(self.order, marshal.dumps(order, 2))  # the form that every version of Python reads
        os.lseek(self.order, 0, os.SEEK_SET)
        calls.clear()  # it is passed on by its descriptor

    def spawn(self) -> Spawn:
        """Return what to start: the command of a rank, with the variables that all ranks share.

        Output of imports goes where rank 0 prints, so that modules see streams of the kind that ranks have.
        """
        first = self.spawns[0]
        path = self.shared.get("PYTHONPATH")
        environ = {
            **self.shared,
            "PYTHONPATH": f"{FORK_SERVER}{os.pathsep}{path}" if path else FORK_SERVER,
            "ACCEL_FORK_SERVER": f"{self.order} {self.reporting} {self.gate} {self.control}",
        }
        return first.replace(environ=environ, cpus="", streams=(self.spawns[-1].streams[0], *first.streams[1:]))

    def started(self, pid: int) -> None:
        """Take the pid of the process; from now on it alone reports."""
        self.pid = pid
        os.close(self.reporting)

    def hand_over(self) -> None:
        """Let the descriptors through the exec that follows; in the fork that it turns into the process."""
        streams = {fd for spawn in self.spawns for fd in spawn.streams}
        for fd in {self.order, self.reporting, self.gate, self.control, *streams} - {-1}:
            os.set_inheritable(fd, True)

    def ended(self, status: int) -> tuple[list[int], list[str]]:
        """Return the pids of the ranks, all or none, and the notes to print, now that the process has ended."""
        self.hear()
        events = self.told()
        notes = [f"preload: {read} while it is imported, before any rank has its own" for read in events["late"]]
        notes += [
            f"preload: {name} isn't every rank's, and comes too late for libraries that are loaded"
            for name in self.early
        ]
        pids = [int(text) for text in events["forked"]]
        if len(pids) == len(self.spawns) and status == 0:
            return pids, notes
        return [], [f"not preloaded: {self._why(events, status)}; each rank imports for itself"]

    def hear(self) -> bool:
        """Read what it has reported; return whether more may follow."""
        try:
            while more := os.read(self.events, WHOLE):
                self.said += more
        except BlockingIOError:
            return True
        return False

    def stays(self) -> bool:
        """Return whether it has forked the ranks, and stays their parent."""
        return b"\nstays " in self.said

    def told(self) -> dict[str, list[str]]:
        """Return what it has reported, by kind."""
        events: dict[str, list[str]] = {kind: [] for kind in ("importing", "late", "refused", "forked", "ended")}
        for line in self.said.decode(errors="replace").split("\n")[:-1]:
            kind, _, text = line.partition(" ")
            events.get(kind, []).append(text)
        return events

    def _why(self, events: dict[str, list[str]], status: int) -> str:
        if events["refused"]:
            return events["refused"][-1]
        ending = Ending.from_wait_status(-1, -1, 0, status, 0.0)
        how = f"was {ending.how}" if ending.signal else f"ended with {ending.how}"
        where = f" importing {events['importing'][-1]}" if events["importing"] else ""
        return f"the fork server {how}{where}"

    def close(self) -> None:
        """Close all descriptors but that of one that stays; ranks that still wait at the gate end by that."""
        ours = () if self.stays() else (self.events,)
        for fd in (self.order, *(() if self.pid else (self.reporting,)), self.gate, self.opening, *ours):
            os.close(fd)


def shared_and_own(spawns: Sequence[Spawn], *, changing: bool) -> tuple[dict[str, str], list[str]]:
    """Return the variables that all ranks share, and the names of the others; some are another attempt's own."""
    first = spawns[0].environ
    left_out = CHANGING if changing else ()
    shared = {
        k: v for k, v in first.items() if k not in left_out and all(other.environ.get(k) == v for other in spawns)
    }
    return shared, [name for name in dict.fromkeys(k for s in spawns for k in s.environ) if name not in shared]
