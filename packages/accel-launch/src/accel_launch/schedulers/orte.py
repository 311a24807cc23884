"""Open MPI 4: where rank 0 is, by what its runtime (ORTE) tells the ranks.

mpirun's own machine comes first: rank 0 is there if ranks run there at all, unless the user has said which rank goes
where. Where it may be elsewhere, rank 0 says so itself, and the others ask on each machine that they know of; see
`herald`.
"""

from __future__ import annotations

from .. import hostlist
from .placement import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..host import Machine
    from .placement import Task, Told

DAEMON, OWN = "OMPI_MCA_orte_hnp_uri", "OMPI_MCA_orte_local_daemon_uri"  # mpirun, and what started this rank
NODES = "OMPI_MCA_orte_node_regex"  # all machines and the places of their daemons, mpirun's 0; where one started us
USED = "OMPI_MCA_orte_num_nodes"  # how many of them have ranks
# By which a user says which rank goes where.
BY_HAND = ("OMPI_MCA_orte_rankfile", "OMPI_MCA_rmaps_rank_file_path", "OMPI_MCA_rmaps")
POLICY, IN_ORDER = "OMPI_MCA_rmaps_base_mapping_policy", ("seq", "rankfile", "dist")


def first_host(environ: Mapping[str, str], task: Task, machine: Machine, port: int) -> Told:
    """Return where rank 0 is, and which variable says so; no host where nobody knows.

    Where it may be anywhere it is asked, at ``port``.
    """
    if environ.get(OWN) == environ[DAEMON]:
        return _beside_mpirun(environ, task, machine, port), DAEMON
    return _elsewhere(environ, task, machine, port)


def _beside_mpirun(environ: Mapping[str, str], task: Task, machine: Machine, port: int) -> str | None:
    """Return where rank 0 is, on mpirun's machine; nobody tells us the others, but their daemons have called it."""
    uri, placed = environ[DAEMON], by_hand(environ)
    own = _addresses(uri)
    first = own[0][0] if own else None
    here = first if task.local_rank > 0 or task.rank == 0 else None  # the first one here would be rank 0
    if task.rank > 0 and not placed:
        return here
    others = machine.callers([at for _host, at in own])
    if task.rank > 0:
        return _heard(machine, uri, others, port) or here
    slots, used = number(environ, "OMPI_UNIVERSE_SIZE") or 0, number(environ, USED) or 0
    if placed or slots > task.total or len(others) >= used:  # a machine may be without ranks
        machine.herald(port, uri, task.total - (1 if placed else task.local))
    return here


def _elsewhere(environ: Mapping[str, str], task: Task, machine: Machine, port: int) -> Told:
    uri, nodes = environ[DAEMON], _nodes(environ.get(NODES, ""))
    anywhere = by_hand(environ) or len(nodes) > (number(environ, USED) or len(nodes))
    if task.rank == 0:
        place = environ.get(OWN, "").partition(";")[0].rpartition(".")[2]  # JOB.PLACE;tcp://…
        node = nodes.get(place) if anywhere else None
        return (node, NODES) if node and machine.herald(port, uri, task.total - 1) else (None, DAEMON)
    others = tuple(node for place, node in nodes.items() if place != "0")
    if anywhere and (host := _heard(machine, uri, others, port)):
        return host, NODES if host in others else DAEMON
    typed = _addresses(uri)
    if typed[1:]:
        typed = [one for one in typed if machine.answers(*one)]
    return (typed[0][0] if typed else None), DAEMON


def by_hand(environ: Mapping[str, str]) -> bool:
    """Whether the user of an Open MPI 4 has said which rank goes where, also by several programs."""
    policy, programs = environ.get(POLICY, "").lower(), number(environ, "OMPI_NUM_APP_CTX") or 1
    said = any(environ.get(name) for name in BY_HAND) or policy.startswith(IN_ORDER) or programs > 1
    return said and bool(environ.get(DAEMON))


def _nodes(text: str) -> dict[str, str]:
    """Return the machines of ``n[1:2,0-1]@0,2(2)`` by the places of their daemons: 0, 2 and 3. One without has -1."""
    names, _, places = text.partition("@")
    found: list[str] = []
    for part in places.split(","):
        first, _, count = part.rstrip(")").partition("(")
        more = range(int(count) if count.isdecimal() else 1)
        found += [str(int(first) + one) if first.isdecimal() else "" for one in more]
    return {place: node for place, node in zip(found, hostlist.expand(names), strict=False) if place}


def _heard(machine: Machine, uri: str, others: tuple[str, ...], port: int) -> str | None:
    """Return on which machine rank 0 says that it is: mpirun's, or one of the ``others``."""
    return machine.heard((*(host for host, _at in _addresses(uri)), *others), port, uri)


def _addresses(uri: str) -> list[tuple[str, int]]:
    """Return the addresses of a daemon's host, each with its port: of IPv6 where it has no others.

    Such a name is ``JOB.0;tcp://10.0.0.1,172.17.0.1:PORT;tcp6://[fd00::1,fd00::2]:PORT``.
    """
    return _of(uri, "tcp://") or _of(uri, "tcp6://")


def _of(uri: str, kind: str) -> list[tuple[str, int]]:
    ways = [way.removeprefix(kind).rpartition(":") for way in uri.split(";") if way.startswith(kind)]
    return [(host, int(at)) for hosts, _, at in ways if at.isdecimal() for host in hosts.strip("[]").split(",")]
