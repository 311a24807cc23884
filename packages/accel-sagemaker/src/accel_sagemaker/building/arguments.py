"""The arguments of the job's estimator: those of the settings, with `additional_args` merged over them.

Config files use the names of the SDK's estimator. Each is declared once, with its place in the request if it has one.
"""

from __future__ import annotations

from accel_config.catalogue import Resources, SageMaker
from accel_config.errors import SettingError, nearest
from accel_config.record import Record
from accel_config.settings.paradigm import paradigm
from accel_config.settings.readers import boolean, integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeGuard

    from accel_config.settings.resolved import Settings


def is_dict(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether the value is a mapping of a config."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether the value is a list."""
    return isinstance(value, list)


def _text(value: object) -> str:
    if is_dict(value) or is_list(value):
        raise TypeError(value)
    return str(value)


def _texts(value: object) -> list[str]:
    if not is_list(value):
        raise TypeError(value)
    return [_text(item) for item in value]


def _mapping(value: object) -> dict[str, Any]:
    if not is_dict(value):
        raise TypeError(value)
    return {str(name): item for name, item in value.items()}


def _named(value: object) -> dict[str, str]:
    """Read texts by name."""
    return {name: _text(item) for name, item in _mapping(value).items()}


def _tags(value: object) -> list[dict[str, str]]:
    """Read tags: a mapping, KEY=VALUE texts, or the service's own ``Key`` and ``Value``."""
    if is_dict(value):
        return [{"Key": key, "Value": text} for key, text in _named(value).items()]
    if not is_list(value):
        raise TypeError(value)
    return [_tag(item) for item in value]


def _tag(item: object) -> dict[str, str]:
    if is_dict(item):
        named = _named(item)
        return {"Key": named["Key"], "Value": named.get("Value", "")}
    key, equals, text = _text(item).partition("=")
    if not key or not equals:
        raise ValueError(item)
    return {"Key": key, "Value": text}


def _metrics(value: object) -> list[dict[str, str]]:
    if not is_list(value):
        raise TypeError(value)
    return [{key: _named(item)[key] for key in ("Name", "Regex")} for item in value]


def _boolean(value: object) -> bool:
    return boolean(_text(value))


def _integer(value: object) -> int:
    return integer(_text(value))


class Argument(Record):
    """One argument: the function that reads its value, what the value must be, and its place in the request."""

    read: Callable[[object], object]
    wanted: str
    place: str = ""


def _single(place: str = "") -> Argument:
    return Argument(_text, "text", place)


def _count(place: str) -> Argument:
    return Argument(_integer, "a whole number", place)


def _switch(place: str = "") -> Argument:
    return Argument(_boolean, "true or false", place)


ARGUMENTS: dict[str, Argument] = {
    "role": _single(),
    "image_uri": _single("AlgorithmSpecification.TrainingImage"),
    "transformers_version": _single(),
    "pytorch_version": _single(),
    "py_version": _single(),
    "base_job_name": _single(),
    "job_name": _single("TrainingJobName"),
    "source_dir": _single(),
    "code_location": _single(),
    "output_path": _single("OutputDataConfig.S3OutputPath"),
    "output_kms_key": _single("OutputDataConfig.KmsKeyId"),
    "instance_type": _single("ResourceConfig.InstanceType"),
    "instance_count": _count("ResourceConfig.InstanceCount"),
    "volume_size": _count("ResourceConfig.VolumeSizeInGB"),
    "volume_kms_key": _single("ResourceConfig.VolumeKmsKeyId"),
    "keep_alive_period_in_seconds": _count("ResourceConfig.KeepAlivePeriodInSeconds"),
    "max_run": _count("StoppingCondition.MaxRuntimeInSeconds"),
    "max_wait": _count("StoppingCondition.MaxWaitTimeInSeconds"),
    "use_spot_instances": _switch("EnableManagedSpotTraining"),
    "checkpoint_s3_uri": _single("CheckpointConfig.S3Uri"),
    "checkpoint_local_path": _single("CheckpointConfig.LocalPath"),
    "max_retry_attempts": _count("RetryStrategy.MaximumRetryAttempts"),
    "enable_network_isolation": _switch("EnableNetworkIsolation"),
    "encrypt_inter_container_traffic": _switch("EnableInterContainerTrafficEncryption"),
    "enable_sagemaker_metrics": _switch("AlgorithmSpecification.EnableSageMakerMetricsTimeSeries"),
    "subnets": Argument(_texts, "a list of ids", "VpcConfig.Subnets"),
    "security_group_ids": Argument(_texts, "a list of ids", "VpcConfig.SecurityGroupIds"),
    "metric_definitions": Argument(
        _metrics, "a list of mappings with Name and Regex", "AlgorithmSpecification.MetricDefinitions"
    ),
    "tags": Argument(_tags, "a mapping, or a list of KEY=VALUE", "Tags"),
    "environment": Argument(_named, "a mapping of texts"),
    "hyperparameters": Argument(_mapping, "a mapping"),
    "distribution": Argument(_mapping, "a mapping"),
    "container_log_level": _count(""),
}
WITHOUT_EFFECT = {
    "debugger_hook_config": "the job never has a debugger",
    "disable_profiler": "the job never has a profiler",
    "entry_point": "the script is the one on the command line",
    "wait": "use --no_wait instead",
}


def collect(settings: Settings) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments, with precedence for `additional_args`, and a note for each that has no effect.

    Raises:
        SettingError: an argument or its value isn't valid.
    """
    own = {name: value for name, value in _own(settings).items() if value not in (None, ())}
    given: dict[str, Any] = dict(settings[SageMaker].additional_args or {})
    origin = settings.origin("additional_args")
    notes = [
        f"additional_args.{name} ({origin}) has no effect: {WITHOUT_EFFECT[name]}"
        for name in given
        if name in WITHOUT_EFFECT
    ]
    given = {name: value for name, value in given.items() if name not in WITHOUT_EFFECT and value is not None}
    for name in given:
        if name not in ARGUMENTS:
            raise SettingError(f"{origin}: {name!r} isn't valid in additional_args{nearest(name, ARGUMENTS)}")
    return _read(_merged(own, given), origin), notes


def _own(settings: Settings) -> dict[str, Any]:
    job = settings[SageMaker]
    kind = paradigm(settings).kind
    return {
        "role": job.iam_role_name,
        "image_uri": job.image_uri,
        "transformers_version": job.transformers_version,
        "pytorch_version": job.pytorch_version,
        "py_version": job.py_version,
        "base_job_name": job.base_job_name,
        "job_name": job.sagemaker_job_name,
        "instance_type": job.ec2_instance_type,
        "instance_count": settings[Resources].num_machines,
        "volume_size": job.sagemaker_volume_size,
        "max_run": int(job.sagemaker_max_run),
        "max_wait": None if job.sagemaker_max_wait is None else int(job.sagemaker_max_wait),
        "use_spot_instances": job.sagemaker_spot or None,
        "tags": _own_tags(settings),
        "distribution": {"smdistributed": {"dataparallel": {"enabled": True}}} if kind == "DATA_PARALLEL" else None,
    }


def _own_tags(settings: Settings) -> dict[str, str] | None:
    try:
        return {tag["Key"]: tag["Value"] for tag in _tags(list(settings[SageMaker].sagemaker_tags))} or None
    except ValueError as error:
        origin = settings.origin("sagemaker_tags")
        raise SettingError(f"{origin}: a tag must be KEY=VALUE, not {error.args[0]!r}") from None


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return both mappings in one. Mappings inside both are merged the same way; otherwise ``over`` wins."""
    found = dict(under)
    for name, value in over.items():
        both = is_dict(value) and is_dict(found.get(name))
        found[name] = _merged(found[name], value) if both else value
    return found


def _read(arguments: dict[str, Any], origin: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        try:
            found[name] = ARGUMENTS[name].read(value)
        except (TypeError, ValueError, KeyError):
            shown = repr(value) if ARGUMENTS[name].place else "its value"  # the others may contain secrets
            raise SettingError(
                f"{origin}: additional_args.{name} must be {ARGUMENTS[name].wanted}, not {shown}"
            ) from None
    return found
