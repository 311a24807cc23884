"""How the processes of a job are started: one on each instance, by torch's agent, or by the container's toolkit."""

from __future__ import annotations

from accel_config.catalogue import Resources
from accel_config.errors import SettingError, nearest
from accel_config.record import Record
from accel_config.section import boolean, integer

from .arguments import is_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from accel_launch.engines import Order

AGENT_TYPES = ("FSDP", "MULTI_")
"""What the types begin with whose processes torch's agent starts on each instance."""


class Distribution(Record):
    """How the processes of the job are started."""

    start: str
    """``process``: one on each instance; ``agent``: by torch's agent, which our program starts; ``toolkit``: by
    what the container's toolkit does with `keys`."""
    processes: int | None
    """Of the agent, on each instance; None: one for each GPU."""
    keys: dict[str, object]


def decide(order: Order, arguments: dict[str, Any]) -> Distribution:
    """Return how the processes are started, and note what has no effect on it.

    Raises:
        SettingError: the arguments ask for what the container's toolkit doesn't know.
    """
    settings = order.settings
    given: dict[str, Any] = arguments.get("distribution") or {}
    keys = _keys(given, arguments["instance_type"], settings.origin("additional_args"))
    processes = _processes(order)
    kind = settings.paradigm
    if keys:
        if processes is not None:
            order.findings.notes.append(
                "the container's toolkit starts one process for each GPU, whatever is asked here"
            )
        return Distribution("toolkit", None, keys)
    if kind.kind == "MODEL_PARALLEL":
        raise SettingError(f"MODEL_PARALLEL ({kind.origin}) needs its parameters in additional_args: distribution")
    if processes is not None or kind.kind.startswith(AGENT_TYPES):
        return Distribution("agent", processes, {})
    return Distribution("process", None, {})


def _processes(order: Order) -> int | None:
    """Return how many processes each instance is to have, where anybody says so."""
    settings = order.settings
    named = settings[Resources].nproc_per_node
    if named is not None:
        return named
    asked, kind = settings.value("num_processes"), settings.paradigm
    if asked.value is None:
        return None
    if kind.kind == "NO" and asked.origin.layer >= kind.origin.layer:
        if asked.value != order.laid.machines:
            order.findings.notes.append(
                f"distributed_type is NO ({kind.origin}): one process on each instance, not num_processes "
                f"{asked.value} ({asked.origin})"
            )
        return None
    if order.laid.total % order.laid.machines:
        raise SettingError(
            f"num_processes {asked.value} ({asked.origin}) can't be shared equally by the {order.laid.machines} "
            "instances (num_machines): give --nproc_per_node"
        )
    return order.laid.local


def _modelparallel(given: dict[str, Any], _instance: str) -> dict[str, object]:
    return {"sagemaker_mpi_enabled": True, "mp_parameters": given.get("parameters", {})}


def _mpi(given: dict[str, Any], _instance: str) -> dict[str, object]:
    found: dict[str, object] = {
        "sagemaker_mpi_enabled": True,
        "sagemaker_mpi_custom_mpi_options": str(given.get("custom_mpi_options", "")),
    }
    if given.get("processes_per_host"):
        found["sagemaker_mpi_num_of_processes_per_host"] = integer(str(given["processes_per_host"]))
    return found


def _dataparallel(given: dict[str, Any], instance: str) -> dict[str, object]:
    return {
        "sagemaker_distributed_dataparallel_enabled": True,
        "sagemaker_instance_type": instance,
        "sagemaker_distributed_dataparallel_custom_mpi_options": str(given.get("custom_mpi_options", "")),
    }


# A way of distributing that the toolkit in the container knows, and the hyperparameters that ask for it.
DISTRIBUTIONS: dict[str, Callable[[dict[str, Any], str], dict[str, object]]] = {
    "smdistributed.dataparallel": _dataparallel,
    "smdistributed.modelparallel": _modelparallel,
    "mpi": _mpi,
    "torch_distributed": lambda _given, instance: {
        "sagemaker_torch_distributed_enabled": True,
        "sagemaker_instance_type": instance,
    },
    "pytorchddp": lambda _given, instance: {
        "sagemaker_pytorch_ddp_enabled": True,
        "sagemaker_instance_type": instance,
    },
    "pytorchxla": lambda _given, _instance: {"sagemaker_pytorch_xla_multi_worker_enabled": True},
}


def _keys(given: dict[str, Any], instance: str, origin: str) -> dict[str, object]:
    """Return the hyperparameters with which the container's toolkit distributes as ``given`` asks."""
    found: dict[str, object] = {}
    for name, how in _ways(given):
        if name not in DISTRIBUTIONS or not is_dict(how):
            known = nearest(name, DISTRIBUTIONS) or f"; there are {', '.join(DISTRIBUTIONS)}"
            raise SettingError(f"{origin}: additional_args.distribution can't have {name!r}{known}")
        try:
            if boolean(str(how.get("enabled", False))):
                found.update(DISTRIBUTIONS[name](how, instance))
        except (TypeError, ValueError):
            raise SettingError(f"{origin}: additional_args.distribution.{name} can't be {how!r}") from None
    return found


def _ways(given: dict[str, Any]) -> list[tuple[str, Any]]:
    inner: Any = given.get("smdistributed") or {}
    nested = [(f"smdistributed.{name}", how) for name, how in inner.items()] if is_dict(inner) else []
    return [*((name, how) for name, how in given.items() if name != "smdistributed"), *nested]
