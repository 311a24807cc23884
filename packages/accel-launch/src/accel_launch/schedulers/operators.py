"""Kubernetes' training operators (PyTorchJob, TrainJob), or whoever sets torchrun's PET_*, or MASTER_ADDR and RANK.

Each pod is a machine. In its environment RANK is the machine's, and WORLD_SIZE is the number of machines; newer
operators multiply that by the processes of each, but set PET_NNODES as well, which goes first.
"""

from __future__ import annotations

from .placement import Placement, number, unplaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..host import Machine

TITLE = "the environment"
WHOLE = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# What else torchrun reads of its own variables, where machines are several.
ALSO = {
    "PET_RDZV_BACKEND": "rdzv_backend",
    "PET_RDZV_CONF": "rdzv_conf",
    "PET_RDZV_ID": "run_id",
    "PET_MAX_RESTARTS": "max_restarts",
}


def read(environ: Mapping[str, str], _machine: Machine) -> Placement:
    """Return the place of this pod among those of its job."""
    return _agents(environ) if environ.get("PET_NNODES") else _bare(environ)


def _bare(environ: Mapping[str, str]) -> Placement:
    """Read MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE, which count only together."""
    missing = [name for name in WHOLE if not environ.get(name)]
    machines, rank, port = (number(environ, name) for name in ("WORLD_SIZE", "RANK", "MASTER_PORT"))
    if missing or machines is None or rank is None or port is None or rank >= machines:
        there = ", ".join(f"{name}={environ[name]}" for name in WHOLE if environ.get(name))
        why = f"for want of {', '.join(missing)}" if missing else "since they don't fit together"
        return unplaced(TITLE, f"{there} in the environment: no effect, {why}")
    found = Placement(TITLE).taking("num_machines", machines, "WORLD_SIZE").taking("machine_rank", rank, "RANK")
    if machines == 1:
        return found
    address = environ["MASTER_ADDR"]
    return found.taking("main_process_ip", address, "MASTER_ADDR").taking("main_process_port", port, "MASTER_PORT")


def _agents(environ: Mapping[str, str]) -> Placement:
    """Read torchrun's own variables."""
    found = Placement(TITLE).taking("num_machines", environ["PET_NNODES"], "PET_NNODES")
    found = found.taking("nproc_per_node", number(environ, "PET_NPROC_PER_NODE"), "PET_NPROC_PER_NODE")
    if found.values["num_machines"].value == 1:
        return found.taking("machine_rank", 0, "PET_NNODES")
    rank, address, port = _rank(environ), *_endpoint(environ)
    if rank is None or address is None or port is None:
        lacks = {"PET_NODE_RANK": rank, "PET_MASTER_ADDR": address, "PET_MASTER_PORT": port}
        missing = ", ".join(name for name, told in lacks.items() if told is None)
        return unplaced(
            TITLE, f"PET_NNODES={environ['PET_NNODES']} in the environment: no effect, for want of {missing}"
        )
    found = found.taking("machine_rank", *rank).taking("main_process_ip", *address).taking("main_process_port", *port)
    for variable, name in ALSO.items():
        found = found.taking(name, environ.get(variable) or None, variable)
    return found


def _rank(environ: Mapping[str, str]) -> tuple[int, str] | None:
    """Return this machine's rank and who says it.

    An elastic PyTorchJob says only where its first worker is, or its etcd; the names of workers end in their numbers.
    """
    for name in ("PET_NODE_RANK", "RANK"):
        if (told := number(environ, name)) is not None:
            return told, name
    first = environ.get("PET_RDZV_ENDPOINT", "").partition(":")[0].partition(".")[0]
    own, _, place = environ.get("HOSTNAME", "").rpartition("-")
    ours = own and (first == f"{own}-0" or _etcd(environ))
    return (int(place), "HOSTNAME") if ours and place.isdecimal() else None


def _etcd(environ: Mapping[str, str]) -> bool:
    return environ.get("PET_RDZV_BACKEND", "").startswith("etcd")


def _endpoint(environ: Mapping[str, str]) -> tuple[tuple[str, str] | None, tuple[str, str] | None]:
    """Return where the machines meet, address and port, each with who says it.

    By etcd they meet at that, whoever is the main one.
    """
    for prefix in () if _etcd(environ) else ("PET_MASTER", "MASTER"):
        if environ.get(f"{prefix}_ADDR") and environ.get(f"{prefix}_PORT"):
            return tuple((environ[name], name) for name in (f"{prefix}_ADDR", f"{prefix}_PORT"))  # pyright: ignore[reportReturnType]
    address, _, port = environ.get("PET_RDZV_ENDPOINT", "").rpartition(":")
    if not address:
        return None, None
    return (address.strip("[]"), "PET_RDZV_ENDPOINT"), (port, "PET_RDZV_ENDPOINT")
