"""Whether two launches are the same: all that an import, or a process that is forked later, could tell apart."""

from __future__ import annotations

import os
import sys

from accel_launch.ranks import FORK_SERVER
from accel_launch.ranks.system import calls
from accel_launch.running.guardian.workload import CHANGING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.planning.types import Command, Plan

STATUS = (
    *("Umask", "Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn"),
    *("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Cpus_allowed", "Mems_allowed"),
)
"""What processes inherit, of ``/proc/self/status``."""
FILES = ("cgroup", "oom_score_adj", "limits", "personality", "timerslack_ns", "coredump_filter")
FIRST = 3  # the first descriptor that isn't a standard stream


def digest(plan: Plan) -> bytes:
    """Return a digest of this launch. It is kept in memory alone, and so is what it is made of."""
    import hashlib
    import marshal

    here = os.stat(".")
    facts = [
        sys.orig_argv,
        os.getcwd(),
        [here.st_dev, here.st_ino],
        sorted(os.environ.items()),
        [_command(one) for one in plan.commands],
        list(plan.preload or ()),
        repr(plan.display),
        [os.isatty(fd) for fd in range(FIRST)],
        _inherited(),
        [_stamp(os.path.join(FORK_SERVER, name)) for name in sorted(os.listdir(FORK_SERVER)) if name.endswith(".py")],
    ]
    return hashlib.sha256(marshal.dumps(facts, 2)).digest()


def _command(command: Command) -> list[object]:
    own = sorted((name, text) for name, text in command.env.items() if name not in CHANGING)
    return [list(command.argv), own, command.cwd, command.rank, command.label, command.cpus]


def _inherited() -> list[object]:
    with open("/proc/self/status", "rb") as file:
        lines = [line.partition(b":") for line in file]
    status = {name: text for name, _, text in lines}
    found: list[object] = [status.get(name.encode(), b"") for name in STATUS]
    found += [_content(f"/proc/self/{name}") for name in FILES]
    found += [os.readlink(f"/proc/self/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))]
    return [*found, os.getpriority(os.PRIO_PROCESS, 0), calls.scheduler()]


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _stamp(path: str) -> list[int]:
    seen = os.stat(path)
    return [seen.st_mtime_ns, seen.st_size, seen.st_ino]
