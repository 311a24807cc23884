"""`accelerate sagemaker` and `accel-sagemaker`: launch a job, and look at, follow or stop one that is there."""

from __future__ import annotations

import os
import sys

from accel_config import CATALOGUE, AccelError, SettingError, layers, resolve, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_config.settings import Settings

    from .training import TrainingJob

HELP = """\
usage: {program} launch [flags] SCRIPT [arguments of the script]
       {program} status|logs|stop [--region R] [--profile P] [--config_file FILE] JOB

  launch   Submit a training job that runs SCRIPT, and follow it; the flags are those of 'accelerate launch'.
  status   Print how the job is; with --json as JSON.
  logs     Print the job's logs and follow them to its end; with --no_wait only what there is. The exit status is
           the job's.
  stop     Ask for the job to be stopped and wait until it is; with --no_wait don't wait.

Region and credentials come from the flags, the environment, and the config file, as in 'accelerate launch'.
"""


def main(argv: Sequence[str] | None = None, program: str = "accel-sagemaker") -> int:
    """Run the command that the words name; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["launch"]:
        from accel_launch.cli import main as launch

        return launch(["--compute_environment", "AMAZON_SAGEMAKER", *words[1:]], f"{program} launch")
    if not words or words[0] in ("-h", "--help", "help") or "--help" in words or "-h" in words:
        print(HELP.format(program=program), end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    try:
        return _command(words[0])(*_job(words))
    except AccelError as error:
        for line in str(error).splitlines():
            print(f"{program} {words[0]}: {line}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130


def _command(name: str) -> Callable[[TrainingJob, Settings], int]:
    if name not in COMMANDS:
        raise SettingError(f"there is no such command; there are launch, {', '.join(COMMANDS)}")
    return COMMANDS[name]


def _job(words: list[str]) -> tuple[TrainingJob, Settings]:
    """Return the job that the words name, and the settings; flags may stand on both sides of the name."""
    from . import credentials
    from .training import TrainingJob

    before = split(CATALOGUE, words[1:])
    if not before.script:
        raise SettingError("which job? Give its name, as launch printed it")
    after = split(CATALOGUE, before.script[1:])
    if after.script:
        raise SettingError(f"one job at a time, and {after.script[0]!r} is one word too many")
    typed = before.replace(values={**before.values, **after.values}, script=before.script[:1])
    found = layers(CATALOGUE, typed, os.environ)
    settings = resolve(CATALOGUE, found.values, found.notes)
    signed, notes = credentials.find(settings, os.environ)
    for note in notes:
        print(f"accel: note: {note}", file=sys.stderr)
    region = credentials.region(settings, signed, os.environ)
    return TrainingJob(typed.script[0], region, signed), settings


def _status(job: TrainingJob, settings: Settings) -> int:
    state = job.describe()
    told = {
        "name": job.name,
        "region": job.region,
        "status": state.status,
        "secondary_status": state.secondary,
        "elapsed": state.elapsed,
        "instances": state.instances,
        "failure_reason": state.reason or None,
        "model": state.model or None,
        "console": job.console,
    }
    if settings.value("json").value:
        import json

        print(json.dumps(told, indent=2))
        return 0
    for name, value in told.items():
        if value is not None:
            print(f"{name.replace('_', ' ')}: {value}")
    return 0


def _logs(job: TrainingJob, settings: Settings) -> int:
    from accel_config.catalogue import SageMaker

    if settings[SageMaker].wait:
        return _follow(job, settings)
    several = job.describe().instances > 1
    for line in job.lines():
        print(f"[{line.host}] {line.text}" if several else line.text)
    return 0


def _follow(job: TrainingJob, settings: Settings) -> int:
    from accel_config.catalogue import SageMaker
    from accel_launch import report
    from accel_launch.process import leave

    from .follow import follow

    result = follow(job, settings[SageMaker].sagemaker_poll_interval)
    sys.stderr.write("".join(f"accel: note: {note}\n" for note in result.notes) + report.text(result, ""))
    sys.stderr.flush()
    return leave(result)


def _stop(job: TrainingJob, settings: Settings) -> int:
    """Stop the job; a job that has ended already is no error, and a job that then stops is what was asked for."""
    from accel_config.catalogue import SageMaker

    state = job.describe()
    if state.over:
        print(f"job {job.name} has ended already: {state.status}")
        return 0
    job.stop()
    if not settings[SageMaker].wait:
        print(f"job {job.name} is asked to stop")
        return 0
    import time

    while not (state := job.describe()).over:
        time.sleep(settings[SageMaker].sagemaker_poll_interval)
    print(f"job {job.name} has ended: {state.status}")
    return 0


COMMANDS: dict[str, Callable[[TrainingJob, Settings], int]] = {"status": _status, "logs": _logs, "stop": _stop}
