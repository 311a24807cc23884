"""The refusals of settings and arguments that SageMaker can't run, before anything is uploaded."""

from __future__ import annotations

from accel_config.catalogue import Launcher, Resources
from accel_config.errors import AccelError, SettingError, nearest
from accel_config.settings.paradigm import paradigm
from accel_sagemaker.building import hyperparameters, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_config.settings.resolved import Settings
    from accel_sagemaker.building.request import JobRequest

LOCAL = ("local", "local_gpu")


def refuse(settings: Settings, script: tuple[str, ...]) -> None:
    """Check that SageMaker can run the script with these settings.

    Raises:
        AccelError: it can't.
    """
    launcher = settings[Launcher]
    for name in ("module", "no_python"):
        if settings.value(name).value:
            raise AccelError(f"{name} ({settings.origin(name)}) isn't possible on SageMaker; name a Python file")
    if not script[0].endswith(".py"):
        raise AccelError(f"{script[0]} can't run on SageMaker; the script must be a Python file, *.py")
    if launcher.python is not None:
        raise AccelError(f"python ({settings.origin('python')}) isn't possible on SageMaker; the image has its own")
    machines = settings.value("num_machines")
    if settings[Resources].num_machines.elastic:
        raise AccelError(f"num_machines {machines.value} ({machines.origin}): a job has a fixed number of instances")
    kind = paradigm(settings)
    if kind.kind in ("DEEPSPEED", "MEGATRON_LM", "XLA"):
        raise AccelError(
            f"{kind.kind} ({kind.origin}) isn't possible on SageMaker; set NO, DATA_PARALLEL, MULTI_GPU or FSDP, or "
            "additional_args: {distribution: ...}"
        )


def refuse_reserved(settings: Settings, arguments: dict[str, Any]) -> None:
    """Check that no hyperparameter has a reserved name.

    Raises:
        SettingError: one has.
    """
    for name in arguments.get("hyperparameters", ()):
        if name.startswith(hyperparameters.RESERVED):
            raise SettingError(
                f"{settings.origin('additional_args')}: additional_args.hyperparameters can't have {name}: names "
                f"that begin with {hyperparameters.RESERVED} are reserved"
            )


def instance(settings: Settings, arguments: dict[str, Any]) -> str:
    """Return the instance type.

    Raises:
        SettingError: it isn't set, or there is no such type.
    """
    given: str | None = arguments.get("instance_type")
    origin = settings.origin("ec2_instance_type")
    if not given:
        raise SettingError("ec2_instance_type isn't set; give --ec2_instance_type, or set it in the config file")
    if given in LOCAL:
        raise SettingError(
            f"ec2_instance_type {given} ({origin}) is a mode of an older SDK, not an instance type of SageMaker; "
            "give an instance type, or run the script on this machine with --engine local"
        )
    known = limits.instance_types()
    if given not in known:
        raise SettingError(
            f"ec2_instance_type {given} ({origin}) isn't an instance type of the installed boto3 (a new type may "
            f"need a newer boto3){nearest(given, known)}"
        )
    return given


def role(arguments: dict[str, Any]) -> str:
    """Return the role's name or ARN.

    Raises:
        SettingError: it isn't set.
    """
    if not arguments.get("role"):
        raise SettingError(
            "iam_role_name isn't set; give --iam_role_name (a name or an ARN), or set it in the config file"
        )
    return arguments["role"]


def waiting(arguments: dict[str, Any]) -> None:
    """Check the time limits of spot instances, and set the wait to the training's time if it isn't set.

    Raises:
        SettingError: the service would refuse the wait.
    """
    if arguments.get("use_spot_instances"):
        arguments.setdefault("max_wait", arguments["max_run"])
        if arguments["max_wait"] < arguments["max_run"]:
            raise SettingError(
                f"sagemaker_max_wait is {arguments['max_wait']}, less than sagemaker_max_run {arguments['max_run']}; "
                "the wait includes the training"
            )
    elif arguments.get("max_wait") is not None:
        raise SettingError("sagemaker_max_wait applies to spot instances only; give --sagemaker_spot too")


def accepted(request: JobRequest) -> None:
    """Check the request against the service's own model.

    Raises:
        SettingError: the service would refuse it.
    """
    account = request.account or "0" * 12
    arn = request.role if request.role.startswith("arn:") else f"arn:aws:iam::{account}:role/{request.role}"
    wrong = limits.problems(request.filled(account, arn).body)
    if wrong:
        raise SettingError(*(f"SageMaker would refuse the job: {line}" for line in wrong))
