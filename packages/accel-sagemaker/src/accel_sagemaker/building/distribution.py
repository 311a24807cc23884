"""The start of a job's processes: one on each instance, by torch's agent, or by the container's toolkit."""

from __future__ import annotations

from accel_config.catalogue import Resources
from accel_config.errors import SettingError, nearest
from accel_config.record import Record
from accel_config.settings.paradigm import paradigm
from accel_config.settings.readers import boolean, integer
from accel_sagemaker.building.arguments import is_dict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from accel_launch.engines import LaunchContext

AGENT_TYPES = ("FSDP", "MULTI_")
"""torch's agent starts the processes on each instance for the types that begin so."""


class Distribution(Record):
    """How the processes of the job are started."""

    start: str
    """``process``: one on each instance; ``agent``: torch's agent, which our program starts; ``toolkit``: the
    container's toolkit, by `keys`."""
    processes: int | None
    """The agent's processes on each instance; None for one on each GPU."""
    keys: dict[str, object]


def decide(context: LaunchContext, arguments: dict[str, Any]) -> Distribution:
    """Return how the processes are started; add a note for a setting without effect.

    Raises:
        SettingError: the arguments ask for a distribution that the container's toolkit doesn't have.
    """
    settings = context.settings
    given: dict[str, Any] = arguments.get("distribution") or {}
    keys = _keys(given, arguments["instance_type"], settings.origin("additional_args"))
    processes = _processes(context)
    kind = paradigm(settings)
    if keys:
        if processes is not None:
            context.findings.notes.append(
                "the number of processes has no effect: the container's toolkit starts one process for each GPU"
            )
        return Distribution("toolkit", None, keys)
    if kind.kind == "MODEL_PARALLEL":
        raise SettingError(
            f"MODEL_PARALLEL ({kind.origin}) needs its parameters; set additional_args: {{distribution: ...}}"
        )
    if processes is not None or kind.kind.startswith(AGENT_TYPES):
        return Distribution("agent", processes, {})
    return Distribution("process", None, {})


def _processes(context: LaunchContext) -> int | None:
    """Return the number of processes on each instance, or None if it isn't set."""
    settings = context.settings
    named = settings[Resources].nproc_per_node
    if named is not None:
        return named
    asked, kind = settings.value("num_processes"), paradigm(settings)
    if asked.value is None:
        return None
    if kind.kind == "NO" and asked.origin.layer >= kind.origin.layer:
        if asked.value != context.layout.machines:
            context.findings.notes.append(
                f"distributed_type is NO ({kind.origin}), so each instance has one process; num_processes "
                f"{asked.value} ({asked.origin}) has no effect"
            )
        return None
    if context.layout.total % context.layout.machines:
        raise SettingError(
            f"num_processes {asked.value} ({asked.origin}) isn't a multiple of the {context.layout.machines} "
            "instances (num_machines); give --nproc_per_node"
        )
    return context.layout.local


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


# The distributions of the container's toolkit, and the hyperparameters that select them.
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
    """Return the hyperparameters that select the distributions of ``given``.

    Raises:
        SettingError: there is no such distribution, or a value isn't valid.
    """
    found: dict[str, object] = {}
    for name, how in _ways(given):
        if name not in DISTRIBUTIONS or not is_dict(how):
            known = nearest(name, DISTRIBUTIONS) or f"; valid are {', '.join(DISTRIBUTIONS)}"
            raise SettingError(f"{origin}: {name!r} isn't valid in additional_args.distribution{known}")
        try:
            if boolean(str(how.get("enabled", False))):
                found.update(DISTRIBUTIONS[name](how, instance))
        except (TypeError, ValueError):
            raise SettingError(f"{origin}: {how!r} isn't valid for additional_args.distribution.{name}") from None
    return found


def _ways(given: dict[str, Any]) -> list[tuple[str, Any]]:
    inner: Any = given.get("smdistributed") or {}
    nested = [(f"smdistributed.{name}", how) for name, how in inner.items()] if is_dict(inner) else []
    return [*((name, how) for name, how in given.items() if name != "smdistributed"), *nested]
