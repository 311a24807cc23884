"""The process that imports modules once, as the guardian sees it: started before the ranks, gone when they start.

What it does is in ``nursery_site``, which runs in the ranks' own interpreter. It forks the ranks, says their pids and
ends; being orphans then, they become children of the guardian, which lets them through the gate at which they wait.
From there on nothing tells them from ranks that the guardian has forked itself.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .guardian import Spawn

SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "nursery_site")
# Variables that native libraries, or the interpreter, read when they are loaded: nothing of Python's sees it.
READ_EARLY = ("CUDA_", "GOMP_", "KMP_", "LD_", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON")
WHOLE = 1 << 16  # bytes that a pipe takes in


class Nursery:
    """The order to the process, the way back from it, and the gate that holds the ranks."""

    def __init__(self, spawns: Sequence[Spawn], modules: Sequence[str]) -> None:
        """Write the order; ``modules`` are imported, and a rank is forked for each of ``spawns``."""
        self.spawns, self.modules = spawns, modules
        first = spawns[0].environ
        self.shared = {k: v for k, v in first.items() if all(other.environ.get(k) == v for other in spawns)}
        self.own = [name for name in dict.fromkeys(k for s in spawns for k in s.environ) if name not in self.shared]
        self.early = [name for name in self.own if name.startswith(READ_EARLY)]
        self.pid = 0
        self.order = os.memfd_create("accel-nursery")
        self.talk, self.talking = os.pipe()
        self.gate, self.opening = os.pipe()
        os.set_blocking(self.talk, False)
        self._write()

    def _write(self) -> None:
        import marshal

        order = {
            "modules": list(self.modules),
            "own": self.own,
            "pythonpath": self.shared.get("PYTHONPATH"),
            "guardian": os.getpid(),
            "ranks": [{"environ": spawn.environ, "streams": list(spawn.streams)} for spawn in self.spawns],
        }
        os.write(self.order, marshal.dumps(order, 2))  # the form that every version of Python reads
        os.lseek(self.order, 0, os.SEEK_SET)

    def spawn(self) -> Spawn:
        """Return what to start: the command of a rank, with all that ranks share.

        What imports print goes where rank 0 prints, so that all ranks find streams of the kind that they will have.
        """
        first = self.spawns[0]
        path = self.shared.get("PYTHONPATH")
        environ = {
            **self.shared,
            "PYTHONPATH": f"{SITE}{os.pathsep}{path}" if path else SITE,
            "ACCEL_NURSERY": f"{self.order} {self.talking} {self.gate}",
        }
        return first.replace(environ=environ, streams=(self.spawns[-1].streams[0], *first.streams[1:]))

    def hand_over(self) -> None:
        """Let the descriptors through the exec that follows; in the fork that it turns into the process."""
        for fd in {self.order, self.talking, self.gate, *(fd for spawn in self.spawns for fd in spawn.streams)}:
            os.set_inheritable(fd, True)

    def ended(self, status: int) -> tuple[list[int], list[str]]:
        """Return the pids of the ranks, all or none, and what is to be said, now that the process has ended."""
        said = self._said()
        notes = [f"preload: {text} while it is imported, before any rank has its own" for text in said["late"]]
        notes += [
            f"preload: {name} isn't every rank's, and comes too late for libraries that are loaded"
            for name in self.early
        ]
        pids = [int(text) for text in said["born"]]
        if len(pids) == len(self.spawns) and status == 0:
            return pids, notes
        return [], [f"not preloaded: {self._why(said, status)}; each rank imports for itself"]

    def _said(self) -> dict[str, list[str]]:
        try:
            lines = os.read(self.talk, WHOLE).decode(errors="replace").splitlines()
        except BlockingIOError:
            lines = []
        said: dict[str, list[str]] = {kind: [] for kind in ("importing", "late", "refused", "born")}
        for line in lines:
            kind, _, text = line.partition(" ")
            said[kind].append(text)
        return said

    def _why(self, said: dict[str, list[str]], status: int) -> str:
        if said["refused"]:
            return said["refused"][-1]
        from .report import name_of

        how = (
            f"by {name_of(os.WTERMSIG(status))}"
            if os.WIFSIGNALED(status)
            else f"with status {os.WEXITSTATUS(status)}"
        )
        where = f" importing {said['importing'][-1]}" if said["importing"] else ""
        return f"the process that imports for all ended {how}{where}"

    def let_go(self) -> None:
        """Open the gate: the ranks are children of ours now."""
        os.write(self.opening, b"." * len(self.spawns))

    def close(self) -> None:
        """Let go of everything; ranks that still wait at the gate end by that."""
        for fd in (self.order, self.talk, self.talking, self.gate, self.opening):
            os.close(fd)
