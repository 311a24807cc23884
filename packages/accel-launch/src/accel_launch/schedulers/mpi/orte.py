"""Open MPI 4: the host of rank 0 according to the variables of its runtime (ORTE).

Rank 0 is on mpirun's own machine if that has ranks at all, unless the user has chosen which rank goes where. If it
may be on another machine, rank 0 starts the rank-0 beacon, and the other ranks look for it on all machines they know.
See `accel_launch.ranks.beacon`.
"""

from __future__ import annotations

from accel_config.settings.readers import natural
from accel_launch.schedulers import hostlist
from accel_launch.schedulers.placement import Sourced, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_launch.machine.probe import Probe
    from accel_launch.schedulers.placement import Task

DAEMON, OWN = "OMPI_MCA_orte_hnp_uri", "OMPI_MCA_orte_local_daemon_uri"  # mpirun, and the daemon of this rank
NODES = "OMPI_MCA_orte_node_regex"  # all machines and their daemons' numbers (mpirun: 0); set only by daemons
USED = "OMPI_MCA_orte_num_nodes"  # the number of machines that have ranks
PORTS = range(1, 65536)
# The user chooses which rank goes where with one of these.
BY_USER = ("OMPI_MCA_orte_rankfile", "OMPI_MCA_rmaps_rank_file_path", "OMPI_MCA_rmaps")
POLICY, IN_ORDER = "OMPI_MCA_rmaps_base_mapping_policy", ("seq", "rankfile", "dist")


def first_host(environ: Mapping[str, str], task: Task, probe: Probe, port: int) -> Sourced | None:
    """Return the host of rank 0; None if it isn't known. The rank-0 beacon uses ``port``."""
    if environ.get(OWN) == environ[DAEMON]:
        host = _from_mpirun_host(environ, task, probe, port)
        return None if host is None else Sourced(host, DAEMON)
    return _from_other_host(environ, task, probe, port)


def _from_mpirun_host(environ: Mapping[str, str], task: Task, probe: Probe, port: int) -> str | None:
    """Return the host of rank 0 for a rank on mpirun's machine.

    No variable lists the other machines here, but their daemons have called mpirun.
    """
    uri, placed = environ[DAEMON], placed_by_user(environ)
    own = _addresses(uri)
    first = own[0][0] if own else None
    this = first if task.local_rank > 0 or task.rank == 0 else None  # otherwise the first rank here would be rank 0
    if task.rank > 0 and not placed:
        return this
    others = probe.network.callers([at for _host, at in own])
    if task.rank > 0:
        return _find_beacon(probe, uri, others, port) or this
    slots, used = number(environ, "OMPI_UNIVERSE_SIZE") or 0, number(environ, USED) or 0
    if placed or slots > task.total or len(others) >= used:  # a machine may have no ranks
        probe.mpi.start_beacon(port, task.total - (1 if placed else task.local))
    return this


def _from_other_host(environ: Mapping[str, str], task: Task, probe: Probe, port: int) -> Sourced | None:
    """Return the host of rank 0 for a rank on a machine without mpirun."""
    uri, nodes = environ[DAEMON], _nodes(environ.get(NODES, ""))
    anywhere = placed_by_user(environ) or len(nodes) > (number(environ, USED) or len(nodes))
    if task.rank == 0:
        place = environ.get(OWN, "").partition(";")[0].rpartition(".")[2]  # JOB.PLACE;tcp://…
        node = nodes.get(place) if anywhere else None
        return Sourced(node, NODES) if node and probe.mpi.start_beacon(port, task.total - 1) else None
    others = tuple(node for place, node in nodes.items() if place != "0")
    if anywhere and (host := _find_beacon(probe, uri, others, port)):
        return Sourced(host, NODES if host in others else DAEMON)
    addresses = _addresses(uri)
    if addresses[1:]:
        addresses = [address for address in addresses if probe.network.answers(*address)]
    return Sourced(addresses[0][0], DAEMON) if addresses else None


def placed_by_user(environ: Mapping[str, str]) -> bool:
    """Return whether the user of an Open MPI 4 has chosen which rank goes where, also by several programs."""
    policy, programs = environ.get(POLICY, "").lower(), number(environ, "OMPI_NUM_APP_CTX") or 1
    placed = any(environ.get(name) for name in BY_USER) or policy.startswith(IN_ORDER) or programs > 1
    return placed and bool(environ.get(DAEMON))


def _nodes(text: str) -> dict[str, str]:
    """Return the machines by their daemons' numbers: in ``n[1:2,0-1]@0,2(2)`` 0, 2 and 3; -1 is no daemon."""
    names, _, places = text.partition("@")
    found: list[str] = []
    for part in places.split(","):
        first, _, count = part.rstrip(")").partition("(")
        begin, times = natural(first), natural(count)
        following = range(min(1 if times is None else times, hostlist.MOST - len(found)))
        found += ["" if begin is None else str(begin + offset) for offset in following]
    return {place: node for place, node in zip(found, hostlist.expand(names, NODES), strict=False) if place}


def _find_beacon(probe: Probe, uri: str, others: tuple[str, ...], port: int) -> str | None:
    """Return the machine on which the beacon answers: mpirun's, or one of the ``others``."""
    return probe.mpi.find_beacon((*(host for host, _at in _addresses(uri)), *others), port)


def _addresses(uri: str) -> list[tuple[str, int]]:
    """Return the addresses of a daemon's host, each with its port; those of IPv6 only if there are no others.

    Such a URI is ``JOB.0;tcp://10.0.0.1,172.17.0.1:PORT;tcp6://[fd00::1,fd00::2]:PORT``.
    """
    return _by_protocol(uri, "tcp://") or _by_protocol(uri, "tcp6://")


def _by_protocol(uri: str, protocol: str) -> list[tuple[str, int]]:
    parts = [part.removeprefix(protocol).rpartition(":") for part in uri.split(";") if part.startswith(protocol)]
    numbered = [(hosts, natural(at)) for hosts, _, at in parts]
    return [
        (host, at)
        for hosts, at in numbered
        if at is not None and at in PORTS
        for host in hosts.strip("[]").split(",")
    ]
