"""Kubernetes' training operators (PyTorchJob, TrainJob), and whatever else sets PET_*, or MASTER_ADDR and RANK.

Each pod is a machine: RANK is the machine's rank and WORLD_SIZE the number of machines. Newer operators multiply
WORLD_SIZE by the processes of each pod, but they also set PET_NNODES, which wins.
"""

from __future__ import annotations

from accel_config.settings.readers import natural
from accel_launch.schedulers.placement import Placement, Sourced, ignored, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_launch.machine.probe import Probe

TITLE = "the environment"
WHOLE = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Further variables of torchrun's, with the settings that they set on several machines.
ALSO = {
    "PET_RDZV_BACKEND": "rdzv_backend",
    "PET_RDZV_CONF": "rdzv_conf",
    "PET_RDZV_ID": "run_id",
    "PET_MAX_RESTARTS": "max_restarts",
}


def read(environ: Mapping[str, str], _probe: Probe) -> Placement:
    """Return the place of this pod among those of its job."""
    return _torchrun(environ) if environ.get("PET_NNODES") else _bare(environ)


def _bare(environ: Mapping[str, str]) -> Placement:
    """Read MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE, of which all must be set."""
    missing = [name for name in WHOLE if not environ.get(name)]
    machines, rank, port = (number(environ, name) for name in ("WORLD_SIZE", "RANK", "MASTER_PORT"))
    if missing or machines is None or rank is None or port is None or rank >= machines:
        given = ", ".join(f"{name}={environ[name]}" for name in WHOLE if environ.get(name))
        return _incomplete(given, missing)
    found = Placement(TITLE).with_setting("num_machines", machines, "WORLD_SIZE")
    found = found.with_setting("machine_rank", rank, "RANK")
    if machines == 1:
        return found
    return found.with_address(Sourced(environ["MASTER_ADDR"], "MASTER_ADDR"), Sourced(port, "MASTER_PORT"))


def _incomplete(given: str, missing: list[str]) -> Placement:
    """Return that ``given`` is ignored."""
    unset = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'}n't set"
    has = "have" if ", " in given else "has"
    why = unset if missing else "the values don't fit together"
    return ignored(TITLE, f"{given} in the environment {has} no effect: {why}")


def _torchrun(environ: Mapping[str, str]) -> Placement:
    """Read torchrun's own variables."""
    found = Placement(TITLE).with_setting("num_machines", environ["PET_NNODES"], "PET_NNODES")
    found = found.with_setting("nproc_per_node", number(environ, "PET_NPROC_PER_NODE"), "PET_NPROC_PER_NODE")
    if found.values["num_machines"].value == 1:
        return found.with_setting("machine_rank", 0, "PET_NNODES")
    rank, address, port = _rank(environ), *_endpoint(environ)
    if rank is None or address is None or port is None:
        needed = {"PET_NODE_RANK": rank, "PET_MASTER_ADDR": address, "PET_MASTER_PORT": port}
        return _incomplete(
            f"PET_NNODES={environ['PET_NNODES']}", [name for name, value in needed.items() if value is None]
        )
    found = found.with_setting("machine_rank", rank.value, rank.variable).with_address(address, port)
    for variable, name in ALSO.items():
        found = found.with_setting(name, environ.get(variable) or None, variable)
    return found


def _rank(environ: Mapping[str, str]) -> Sourced | None:
    """Return the rank of this machine.

    An elastic PyTorchJob sets only the address of its first worker, or of its etcd. There the name of a worker ends
    with its number.
    """
    for name in ("PET_NODE_RANK", "RANK"):
        if (rank := number(environ, name)) is not None:
            return Sourced(rank, name)
    first = environ.get("PET_RDZV_ENDPOINT", "").partition(":")[0].partition(".")[0]
    own, _, place = environ.get("HOSTNAME", "").rpartition("-")
    ours = own and (first == f"{own}-0" or _etcd(environ))
    number_of_worker = natural(place) if ours else None
    return None if number_of_worker is None else Sourced(number_of_worker, "HOSTNAME")


def _etcd(environ: Mapping[str, str]) -> bool:
    return environ.get("PET_RDZV_BACKEND", "").startswith("etcd")


def _endpoint(environ: Mapping[str, str]) -> tuple[Sourced | None, Sourced | None]:
    """Return the address and the port where the machines meet: with etcd, those of the etcd."""
    for prefix in () if _etcd(environ) else ("PET_MASTER", "MASTER"):
        host, port = f"{prefix}_ADDR", f"{prefix}_PORT"
        if environ.get(host) and environ.get(port):
            return Sourced(environ[host], host), Sourced(environ[port], port)
    name = "PET_RDZV_ENDPOINT"
    address, _, at = environ.get(name, "").rpartition(":")
    return (Sourced(address.strip("[]"), name), Sourced(at, name)) if address else (None, None)
