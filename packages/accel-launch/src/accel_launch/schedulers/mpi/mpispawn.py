"""MVAPICH's mpirun_rsh: the host of rank 0 according to the daemons that start its ranks (mpispawn).

Follows the sources of 2.3 and 3.0. Machine 0 has rank 0. With few machines the daemons form a star: machine 0's
has called each of the others, which keep that one connection. With many they form a tree, and each gets a list of all
hosts.
"""

from __future__ import annotations

from accel_launch.machine.files import node, read
from accel_launch.schedulers.mpi.families import MVAPICH
from accel_launch.schedulers.placement import Sourced, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_launch.machine.probe import Probe
    from accel_launch.schedulers.placement import Task

SUBMIT_HOST = "MPISPAWN_MPIRUN_HOST"  # the host of mpirun_rsh; in a tree, that of the daemon above
PLACE, MACHINES = "MPISPAWN_ID", "MPISPAWN_NNODES"
HOSTS, FILE = "MPISPAWN_HOSTLIST", "HOST_LIST_FILE"  # HOST:COUNT:RANK:RANK:…, machine 0 first
DEGREES, DEGREE = ("MV2_MT_DEGREE", "MVP_MT_DEGREE"), 32  # how many daemons one daemon calls, and the default


def first_host(environ: Mapping[str, str], probe: Probe) -> Sourced | None:
    """Return the host of rank 0; None if no daemon knows it."""
    if environ.get("USE_LINEAR_SSH") == "0":
        host = _listed(environ).partition(":")[0]
        return Sourced(host, HOSTS if environ.get(HOSTS) else FILE) if host else None
    place = number(environ, PLACE)
    called = place is not None and _star(environ)
    ports = probe.network.listening(probe.ancestors.nearest(MVAPICH[0].manager)) if called else ()
    if ports and place == 0:
        return Sourced(node(), PLACE)
    for_ranks = environ.get("PMI_PORT", "").rpartition(":")[2]  # the port that the daemon's own ranks call
    callers = probe.network.callers([port for port in ports if str(port) != for_ranks]) if ports else ()
    return Sourced(callers[0], PLACE) if len(callers) == 1 else None


def submit_host(environ: Mapping[str, str], task: Task) -> Sourced | None:
    """Return the host of mpirun_rsh, where rank 0 may be too; None for rank 0 itself on another host."""
    host = environ.get(SUBMIT_HOST) if environ.get("USE_LINEAR_SSH") != "0" else None
    return Sourced(host, SUBMIT_HOST) if host and (task.rank > 0 or host == node()) else None


def _listed(environ: Mapping[str, str]) -> str:
    path = environ.get(FILE)
    return environ.get(HOSTS) or (read(path) if path else "")


def _star(environ: Mapping[str, str]) -> bool:
    """Return whether machine 0's daemon has called all others."""
    degree = next((degree for name in DEGREES if (degree := number(environ, name))), DEGREE)
    return (number(environ, MACHINES) or 0) <= min(max(degree, 4), 512) + 1
