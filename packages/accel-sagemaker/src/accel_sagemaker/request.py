"""From settings to the request for a training job. Nobody is asked here: what only Amazon knows stays open."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

from accel_config import masking
from accel_config.catalogue import Launcher, Resources, SageMaker
from accel_config.errors import AccelError, SettingError, nearest
from accel_config.record import Record
from accel_launch import Host, Request, environment, explain, layout
from accel_launch.checks import Findings
from accel_launch.engines import Order

from . import arguments as estimator
from . import bundle as source
from . import credentials, distribution, hyperparameters, image, limits, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from accel_config.settings import Settings
    from accel_launch import Result

ACCOUNT = "<account>"
"""Stands in addresses for the number of the account, which only the service can tell when the role is just a name."""
LONGEST_NAME = 63
TYPES = ("DATA_PARALLEL", "MODEL_PARALLEL")
"""The types that SageMaker's own library distributes; the others mean torch, or nothing."""
LOCAL = ("local", "local_gpu")


class JobRequest(Record, Request):
    """A training job, ready to be asked for."""

    name: str
    region: str
    role: str
    """A name or an ARN."""
    body: dict[str, Any]
    """What CreateTrainingJob is sent, but for `ACCOUNT` and the ARN of a role that is only named."""
    bundle: source.Bundle
    upload: str
    """The address that the packed bundle is put at."""
    credentials: credentials.Credentials
    wait: bool = True
    poll: float = 5.0
    """Seconds between two looks at the job."""
    notes: tuple[str, ...] = ()

    @property
    def account(self) -> str | None:
        """The number of the role's account, None where the role is only named."""
        found = re.match(r"arn:[^:]*:iam::(\d{12}):", self.role)
        return found.group(1) if found else None

    def filled(self, account: str, role: str) -> JobRequest:
        """Return the request with what only the service could tell."""
        body = _replaced({**self.body, "RoleArn": role}, account)
        return self.replace(body=body, upload=self.upload.replace(ACCOUNT, account), role=role)

    def text(self) -> str:
        """Return the bundle as comments and the request as a command of Amazon's own client."""
        files = [*self.bundle.files, *(source.Source(name, 0) for name in (source.ENTRY, source.PROGRAM))]
        lines = [
            f"# bundle: {_counted(self.bundle)}, and our own;",
            f"# launch packs it and puts it at {self.upload}:",
            *(f"#   {file.name}" + (f" {file.size}" if file.size else "") for file in files),
        ]
        told = explain.quote(json.dumps(_shown(self.body), indent=2))
        return "\n".join(
            [*lines, f"aws sagemaker create-training-job --region {self.region} --cli-input-json {told}"]
        )

    def data(self) -> dict[str, object]:
        """Return the request and its bundle for JSON."""
        files = [{"name": file.name, "size": file.size} for file in self.bundle.files]
        files += [{"name": name, "size": None} for name in (source.ENTRY, source.PROGRAM)]
        return {
            "service": "sagemaker",
            "operation": "CreateTrainingJob",
            "region": self.region,
            "body": _shown(self.body),
            "bundle": {"root": self.bundle.root, "address": self.upload, "files": files},
        }

    def run(self) -> Result:
        """Submit the job and, unless it is not to be waited for, follow it to its end."""
        from .follow import see_through

        return see_through(self)


def job(
    settings: Settings,
    script: str,
    args: Sequence[str] = (),
    *,
    environ: Mapping[str, str] | None = None,
    folder: str | None = None,
) -> JobRequest:
    """Return the request for a job that runs ``script`` with ``args``.

    Args:
        settings: From `accel_config.resolve`.
        script: A Python file; a relative path is seen from ``folder``.
        args: The script's arguments, which it gets as they are.
        environ: The environment in which to look for a region and credentials. Unset: this process's.
        folder: What relative paths are seen from. Unset: the working folder.

    Raises:
        AccelError: the settings are no job that SageMaker can run; the message says which, and the way out.
    """
    laid = layout.elsewhere(settings)
    findings = Findings(lenient=settings[Launcher].dry_run)
    host = Host(environ=os.environ if environ is None else environ, cwd=folder or str(Path.cwd()))
    variables = environment.portable(settings, laid)
    made = make(Order(settings, host, laid, (script, *args), variables, findings))
    return made.replace(notes=(*settings.notes, *findings.notes))


def make(order: Order) -> JobRequest:
    """Return the request for ``order``; its notes go to the order's findings.

    Raises:
        AccelError: see `job`.
    """
    settings, findings = order.settings, order.findings
    _refuse(settings, order.script)
    signed, notes = credentials.find(settings, order.host.environ)
    findings.notes += notes
    region = credentials.region(settings, signed, order.host.environ)
    arguments, notes = estimator.collect(settings)
    findings.notes += notes
    _refuse_reserved(settings, arguments)
    arguments["instance_type"] = _instance(settings, arguments)
    role = _role(arguments)
    arguments["image_uri"] = arguments.get("image_uri") or _image(arguments, region, findings)
    name = arguments.setdefault("job_name", _job_name(arguments["base_job_name"]))
    asked = distribution.decide(order, arguments)
    variables = _environment(order, arguments)
    bundle = _bundle(order, arguments, asked, variables)
    findings.notes += bundle.notes
    made = JobRequest(
        name=name,
        region=region,
        role=role,
        body={},
        bundle=bundle,
        upload="",
        credentials=signed,
        wait=settings[SageMaker].wait,
        poll=settings[SageMaker].sagemaker_poll_interval,
    )
    bucket = f"s3://sagemaker-{region}-{made.account or ACCOUNT}"
    upload = f"{_code_location(settings, arguments, bucket)}/{name}/source/sourcedir.tar.gz"
    arguments.setdefault("output_path", f"{bucket}/")
    made = made.replace(upload=upload, body=_body(order, arguments, role))
    made.body["HyperParameters"] = _hyperparameters(order, arguments, asked, made)
    made.body["Environment"] = variables
    _check(made)
    return made


def _refuse(settings: Settings, script: tuple[str, ...]) -> None:
    launcher = settings[Launcher]
    for name in ("module", "no_python"):
        if settings.value(name).value:
            raise AccelError(f"{name} ({settings.origin(name)}) can't be sent to SageMaker: name a Python file")
    if not script[0].endswith(".py"):
        raise AccelError(f"{script[0]} can't be sent to SageMaker: the script must be a Python file, *.py")
    if launcher.python is not None:
        raise AccelError(f"python ({settings.origin('python')}) can't be sent to SageMaker: the image has its own")
    machines = settings.value("num_machines")
    if settings[Resources].num_machines.elastic:
        raise AccelError(f"num_machines {machines.value} ({machines.origin}): a job has a fixed number of instances")
    kind = settings.paradigm
    if kind.kind in ("DEEPSPEED", "MEGATRON_LM", "XLA"):
        raise AccelError(
            f"{kind.kind} ({kind.origin}) isn't sent to SageMaker: take NO, DATA_PARALLEL, MULTI_GPU or FSDP, "
            "or additional_args: {distribution: ...}"
        )


def _refuse_reserved(settings: Settings, arguments: dict[str, Any]) -> None:
    for name in arguments.get("hyperparameters", ()):
        if name.startswith(hyperparameters.RESERVED):
            raise SettingError(
                f"{settings.origin('additional_args')}: additional_args.hyperparameters can't have {name}: "
                f"names that begin with {hyperparameters.RESERVED} are for the container's toolkit"
            )


def _instance(settings: Settings, arguments: dict[str, Any]) -> str:
    given: str | None = arguments.get("instance_type")
    origin = settings.origin("ec2_instance_type")
    if not given:
        raise SettingError("no instance type is named: give --ec2_instance_type, or ec2_instance_type in the config")
    if given in LOCAL:
        raise SettingError(
            f"ec2_instance_type {given} ({origin}) is a mode of an older SDK and no instance of SageMaker's: "
            "give an instance type, or run the script here with --engine local"
        )
    known = limits.instance_types()
    if given not in known:
        raise SettingError(
            f"ec2_instance_type {given} ({origin}) is no instance type that this boto3 knows (a newer one may need a "
            f"newer boto3){nearest(given, known)}"
        )
    return given


def _role(arguments: dict[str, Any]) -> str:
    if not arguments.get("role"):
        raise SettingError(
            "no role is named: give --iam_role_name (a name or an ARN), or iam_role_name in the config"
        )
    return arguments["role"]


def _image(arguments: dict[str, Any], region: str, findings: Findings) -> str:
    try:
        return image.address(arguments, region)
    except AccelError as error:
        findings.here(str(error))
        return "<image for these versions>"


def _code_location(settings: Settings, arguments: dict[str, Any], bucket: str) -> str:
    given: str = arguments.get("code_location", bucket)
    if not given.startswith("s3://"):
        origin = settings.origin("additional_args")
        raise SettingError(f"{origin}: additional_args.code_location must be an address s3://..., not {given!r}")
    return given.rstrip("/")


def _job_name(base: str) -> str:
    """Return a name that the service takes and that no earlier job has: the base, cleaned and cut, and the time."""
    now = time.time()
    stamp = f"{time.strftime('%Y-%m-%d-%H-%M-%S', time.gmtime(now))}-{int(now * 1000) % 1000:03d}"
    clean = re.sub(r"[^A-Za-z0-9]+", "-", base).strip("-")
    return f"{clean[: LONGEST_NAME - len(stamp) - 1].rstrip('-')}-{stamp}".strip("-")


def _environment(order: Order, arguments: dict[str, Any]) -> dict[str, str]:
    kind = order.settings.paradigm.kind
    return {
        "ACCELERATE_USE_SAGEMAKER": "true",
        # The library takes any type but NO for SageMaker's own library.
        "ACCELERATE_SAGEMAKER_DISTRIBUTED_TYPE": kind if kind in TYPES else "NO",
        **order.variables,
        **arguments.get("environment", {}),
    }


def _bundle(
    order: Order, arguments: dict[str, Any], asked: distribution.Distribution, variables: dict[str, str]
) -> source.Bundle:
    path = (Path(order.host.cwd) / order.script[0]).absolute()
    root = path.parent
    if arguments.get("source_dir"):
        root = (Path(order.host.cwd) / str(arguments["source_dir"])).absolute()
        if not path.resolve().is_relative_to(root.resolve()):
            raise SettingError(f"the script {order.script[0]} isn't inside source_dir {root} (additional_args)")
        path = root / path.resolve().relative_to(root.resolve())
    name = path.relative_to(root).as_posix()
    shown = masking.environment(variables)
    program: dict[str, object] = {
        "script": name,
        "arguments": [*order.script[1:], *_further(arguments)],
        "start": asked.start,
        "processes": asked.processes,
        "environment": {name: text for name, text in variables.items() if shown[name] == text},
    }
    if not path.is_file():  # which a dry run has noted
        return source.Bundle(str(root), (), program)
    return source.collect(root, name, program, order.settings[SageMaker].sagemaker_source_limit)


def _further(arguments: dict[str, Any]) -> list[str]:
    """Return the words for the hyperparameters of `additional_args`: the last of a flag wins, so they come last."""
    given: dict[str, Any] = arguments.get("hyperparameters", {})
    return [
        word
        for name, value in given.items()
        for word in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
    ]


def _body(order: Order, arguments: dict[str, Any], role: str) -> dict[str, Any]:
    job = order.settings[SageMaker]
    body: dict[str, Any] = {
        "TrainingJobName": "",
        "RoleArn": role if role.startswith("arn:") else f"<ARN of role {role}>",
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
    }
    _spot(arguments)
    if job.sagemaker_metrics_file and "metric_definitions" not in arguments:
        read = _table(order, "sagemaker_metrics_file", tables.metrics)
        arguments["metric_definitions"] = read or None
    for name, argument in estimator.ARGUMENTS.items():
        if argument.place and arguments.get(name) is not None:
            _put(body, argument.place, arguments[name])
    if job.sagemaker_inputs_file:
        body["InputDataConfig"] = _table(order, "sagemaker_inputs_file", tables.channels)
        if not body["InputDataConfig"]:
            del body["InputDataConfig"]
    return body


def _table(order: Order, name: str, read: Any) -> Any:
    path = Path(order.host.cwd) / Path(str(order.settings.value(name).value)).expanduser()
    if not path.is_file():
        order.findings.here(f"{name} ({order.settings.origin(name)}): there is no file {path}")
        return []
    return read(path)


def _spot(arguments: dict[str, Any]) -> None:
    """Refuse a wait that the service would; where none is given, it is the training's time."""
    if arguments.get("use_spot_instances"):
        arguments.setdefault("max_wait", arguments["max_run"])
        if arguments["max_wait"] < arguments["max_run"]:
            raise SettingError(
                f"sagemaker_max_wait is {arguments['max_wait']}, less than sagemaker_max_run {arguments['max_run']}: "
                "the wait counts the training too"
            )
    elif arguments.get("max_wait") is not None:
        raise SettingError("sagemaker_max_wait is only for spot instances: give --sagemaker_spot too")


def _put(body: dict[str, Any], place: str, value: object) -> None:
    *outer, last = place.split(".")
    for name in outer:
        body = body.setdefault(name, {})
    body[last] = value


def _hyperparameters(
    order: Order, arguments: dict[str, Any], asked: distribution.Distribution, made: JobRequest
) -> dict[str, str]:
    reserved = {
        **asked.keys,
        "sagemaker_program": source.ENTRY,
        "sagemaker_submit_directory": made.upload,
        "sagemaker_container_log_level": arguments.get("container_log_level", 20),
        "sagemaker_job_name": made.name,
        "sagemaker_region": made.region,
    }
    words = [*order.script[1:], *_further(arguments)]
    shown, notes = hyperparameters.pairs(words, hyperparameters.MOST - len(reserved))
    order.findings.notes += notes
    return hyperparameters.spelled({**shown, **reserved})


def _check(made: JobRequest) -> None:
    """Refuse what the service would, before anything is uploaded."""
    account = made.account or "0" * 12
    role = made.role if made.role.startswith("arn:") else f"arn:aws:iam::{account}:role/{made.role}"
    wrong = limits.problems(made.filled(account, role).body)
    if wrong:
        raise SettingError("\n".join(f"SageMaker would refuse the job: {line}" for line in wrong))


def _replaced(value: Any, account: str) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(item, account) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_replaced(item, account) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value.replace(ACCOUNT, account) if isinstance(value, str) else value


def _shown(body: dict[str, Any]) -> dict[str, Any]:
    """Return the request without the texts of variables that by their names are secrets."""
    return {**body, "Environment": masking.environment(body["Environment"])}


def _counted(bundle: source.Bundle) -> str:
    count, size = len(bundle.files), bundle.size
    return f"{count} file{'s' * (count != 1)} of {bundle.root}, {size} byte{'s' * (size != 1)}"
