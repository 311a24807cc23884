"""From settings to the request for a training job. No service is called: values that only Amazon knows stay open."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

from accel_config.catalogue import Launcher, SageMaker
from accel_config.errors import AccelError, SettingError
from accel_config.settings.paradigm import paradigm
from accel_config.showing import masking
from accel_launch import Host
from accel_launch.engines import LaunchContext
from accel_launch.planning import environment
from accel_launch.planning.findings import Findings
from accel_launch.planning.layout import lay_out_job
from accel_sagemaker.building import arguments as estimator
from accel_sagemaker.building import bundle as source
from accel_sagemaker.building import checks, distribution, hyperparameters, image, tables
from accel_sagemaker.building.request import ACCOUNT, JobRequest
from accel_sagemaker.service import credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from accel_config.settings.resolved import Settings

LONGEST_NAME = 63
TYPES = ("DATA_PARALLEL", "MODEL_PARALLEL")
"""The types that SageMaker's own library distributes; the others use torch, or nothing."""


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
        settings: The settings, from `accel_config.resolve`.
        script: A Python file; a relative path starts at ``folder``.
        args: The script's arguments, which it receives unchanged.
        environ: The environment with the region and credentials. Default: this process's.
        folder: The folder at which relative paths start. Default: the working folder.

    Raises:
        AccelError: SageMaker can't run a job with these settings; the message names the setting and what to do.
    """
    layout = lay_out_job(settings)
    findings = Findings(lenient=settings[Launcher].dry_run)
    host = Host(environ=os.environ if environ is None else environ, cwd=folder or str(Path.cwd()))
    variables = environment.portable(settings, layout)
    request = build(LaunchContext(settings, host, layout, (script, *args), variables, findings))
    return request.replace(notes=(*settings.notes, *findings.notes))


def build(context: LaunchContext) -> JobRequest:
    """Return the request for a launch; its notes go to the context's findings.

    Raises:
        AccelError: see `job`.
    """
    settings, findings = context.settings, context.findings
    checks.refuse(settings, context.script)
    signed, notes = credentials.find(settings, context.host.environ)
    findings.notes += notes
    region = credentials.region(settings, signed, context.host.environ)
    arguments, notes = estimator.collect(settings)
    findings.notes += notes
    checks.refuse_reserved(settings, arguments)
    arguments["instance_type"] = checks.instance(settings, arguments)
    role = checks.role(arguments)
    arguments["image_uri"] = arguments.get("image_uri") or _image(arguments, region, findings)
    name = arguments.setdefault("job_name", _job_name(arguments["base_job_name"]))
    starting = distribution.decide(context, arguments)
    variables = _environment(context, arguments)
    bundle = _bundle(context, arguments, starting, variables)
    findings.notes += bundle.notes
    request = JobRequest(
        name=name,
        region=region,
        role=role,
        body={},
        bundle=bundle,
        upload="",
        credentials=signed,
        wait=settings[SageMaker].wait,
        poll=float(settings[SageMaker].sagemaker_poll_interval),
    )
    bucket = f"s3://sagemaker-{region}-{request.account or ACCOUNT}"
    upload = f"{_code_location(settings, arguments, bucket)}/{name}/source/sourcedir.tar.gz"
    arguments.setdefault("output_path", f"{bucket}/")
    request = request.replace(upload=upload, body=_body(context, arguments, role))
    request.body["HyperParameters"] = _hyperparameters(context, arguments, starting, request)
    request.body["Environment"] = variables
    checks.accepted(request)
    return request


def _image(arguments: dict[str, Any], region: str, findings: Findings) -> str:
    try:
        return image.address(arguments, region)
    except AccelError as error:
        findings.refuse_locally(str(error))
        return "<image for these versions>"


def _code_location(settings: Settings, arguments: dict[str, Any], bucket: str) -> str:
    given: str = arguments.get("code_location", bucket)
    if not given.startswith("s3://"):
        origin = settings.origin("additional_args")
        raise SettingError(f"{origin}: additional_args.code_location must be an address s3://..., not {given!r}")
    return given.rstrip("/")


def _job_name(base: str) -> str:
    """Return a new, valid name for a job: the base, cleaned and cut, and the time."""
    now = time.time()
    stamp = f"{time.strftime('%Y-%m-%d-%H-%M-%S', time.gmtime(now))}-{int(now * 1000) % 1000:03d}"
    clean = re.sub(r"[^A-Za-z0-9]+", "-", base).strip("-")
    return f"{clean[: LONGEST_NAME - len(stamp) - 1].rstrip('-')}-{stamp}".strip("-")


def _environment(context: LaunchContext, arguments: dict[str, Any]) -> dict[str, str]:
    kind = paradigm(context.settings).kind
    return {
        "ACCELERATE_USE_SAGEMAKER": "true",
        # The library uses SageMaker's own library for any type but NO.
        "ACCELERATE_SAGEMAKER_DISTRIBUTED_TYPE": kind if kind in TYPES else "NO",
        **context.variables,
        **arguments.get("environment", {}),
    }


def _bundle(
    context: LaunchContext, arguments: dict[str, Any], starting: distribution.Distribution, variables: dict[str, str]
) -> source.Bundle:
    path = (Path(context.host.cwd) / context.script[0]).absolute()
    root = path.parent
    if arguments.get("source_dir"):
        root = (Path(context.host.cwd) / str(arguments["source_dir"])).absolute()
        if not path.resolve().is_relative_to(root.resolve()):
            raise SettingError(f"the script {context.script[0]} isn't inside source_dir {root} (additional_args)")
        path = root / path.resolve().relative_to(root.resolve())
    name = path.relative_to(root).as_posix()
    shown = masking.environment(variables)
    program: dict[str, object] = {
        "script": name,
        "arguments": [*context.script[1:], *_further(arguments)],
        "start": starting.start,
        "processes": starting.processes,
        "environment": {name: text for name, text in variables.items() if shown[name] == text},
    }
    if not path.is_file():  # a dry run has noted it
        return source.Bundle(str(root), (), program)
    return source.collect(root, name, program, context.settings[SageMaker].sagemaker_source_limit)


def _further(arguments: dict[str, Any]) -> list[str]:
    """Return the words for the hyperparameters of `additional_args`; they come last and win over earlier flags."""
    given: dict[str, Any] = arguments.get("hyperparameters", {})
    return [
        word
        for name, value in given.items()
        for word in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
    ]


def _body(context: LaunchContext, arguments: dict[str, Any], role: str) -> dict[str, Any]:
    settings = context.settings[SageMaker]
    body: dict[str, Any] = {
        "TrainingJobName": "",
        "RoleArn": role if role.startswith("arn:") else f"<ARN of role {role}>",
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
    }
    checks.waiting(arguments)
    if settings.sagemaker_metrics_file and "metric_definitions" not in arguments:
        metrics = _table(context, "sagemaker_metrics_file", tables.metrics)
        arguments["metric_definitions"] = metrics or None
    for name, argument in estimator.ARGUMENTS.items():
        if argument.place and arguments.get(name) is not None:
            _put(body, argument.place, arguments[name])
    if settings.sagemaker_inputs_file:
        body["InputDataConfig"] = _table(context, "sagemaker_inputs_file", tables.channels)
        if not body["InputDataConfig"]:
            del body["InputDataConfig"]
    return body


def _table(context: LaunchContext, name: str, read: Any) -> Any:
    path = Path(context.host.cwd) / Path(str(context.settings.value(name).value)).expanduser()
    if not path.is_file():
        context.findings.refuse_locally(f"{name} ({context.settings.origin(name)}): {path} doesn't exist")
        return []
    return read(path)


def _put(body: dict[str, Any], place: str, value: object) -> None:
    *outer, last = place.split(".")
    for name in outer:
        body = body.setdefault(name, {})
    body[last] = value


def _hyperparameters(
    context: LaunchContext, arguments: dict[str, Any], starting: distribution.Distribution, request: JobRequest
) -> dict[str, str]:
    reserved = {
        **starting.keys,
        "sagemaker_program": source.ENTRY,
        "sagemaker_submit_directory": request.upload,
        "sagemaker_container_log_level": arguments.get("container_log_level", 20),
        "sagemaker_job_name": request.name,
        "sagemaker_region": request.region,
    }
    words = [*context.script[1:], *_further(arguments)]
    shown, notes = hyperparameters.pairs(words, hyperparameters.MOST - len(reserved))
    context.findings.notes += notes
    return hyperparameters.spelled({**shown, **reserved})
