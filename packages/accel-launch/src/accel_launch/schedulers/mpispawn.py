"""MVAPICH's mpirun_rsh: where rank 0 is, as the daemons that start its ranks (mpispawn) know it.

After its source, of 2.3 and of 3.0. Machine 0 has rank 0. Few machines are a star: each daemon keeps one connection,
on which machine 0's has called it. Many are a tree, whose daemons are told all hosts.
"""

from __future__ import annotations

import os

from .. import devices
from .placement import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..host import Machine
    from .placement import Task, Told

DAEMON = "mpispawn"
TYPED = "MPISPAWN_MPIRUN_HOST"  # where mpirun_rsh is; in a tree, where the daemon above is
PLACE, MACHINES = "MPISPAWN_ID", "MPISPAWN_NNODES"
HOSTS, FILE = "MPISPAWN_HOSTLIST", "HOST_LIST_FILE"  # HOST:COUNT:RANK:RANK:…, machine 0 first
DEGREES, DEGREE = ("MV2_MT_DEGREE", "MVP_MT_DEGREE"), 32  # so many daemons does one call, if not told otherwise


def first_host(environ: Mapping[str, str], machine: Machine) -> Told | None:
    """Return where rank 0 is, and which variable says so; None where no daemon knows."""
    if environ.get("USE_LINEAR_SSH") == "0":
        host = _listed(environ).partition(":")[0]
        return (host, HOSTS if environ.get(HOSTS) else FILE) if host else None
    place = number(environ, PLACE)
    ports = machine.listening(machine.ancestor(DAEMON)) if place is not None and _star(environ) else ()
    if ports and place == 0:
        return os.uname().nodename, PLACE
    ranks = environ.get("PMI_PORT", "").rpartition(":")[2]  # where its own ranks may call it
    callers = machine.callers([port for port in ports if str(port) != ranks]) if ports else ()
    return (callers[0], PLACE) if len(callers) == 1 else None


def typed(environ: Mapping[str, str], task: Task) -> Told:
    """Return where mpirun_rsh was typed, where rank 0 may be as well; no host where rank 0 isn't there."""
    host = environ.get(TYPED) if environ.get("USE_LINEAR_SSH") != "0" else None
    return host if host and (task.rank > 0 or host == os.uname().nodename) else None, TYPED


def _listed(environ: Mapping[str, str]) -> str:
    path = environ.get(FILE)
    return environ.get(HOSTS) or (devices.read(path) if path else "")


def _star(environ: Mapping[str, str]) -> bool:
    """Whether machine 0's daemon has called all others."""
    degree = next((degree for name in DEGREES if (degree := number(environ, name))), DEGREE)
    return (number(environ, MACHINES) or 0) <= min(max(degree, 4), 512) + 1
