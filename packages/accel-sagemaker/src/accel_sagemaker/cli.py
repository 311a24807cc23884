"""`accelerate sagemaker` and `accel-sagemaker`: launch a training job, or show, follow or stop an existing one."""

from __future__ import annotations

import os

from accel_config import CATALOGUE, SettingError, front, layers, resolve, split
from accel_config.errors import USAGE
from accel_config.showing.console import data, pass_on, show
from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_config.settings.resolved import Settings
    from accel_sagemaker.service.training import TrainingJob

HELP = """\
usage: {program} launch [flags] SCRIPT [arguments of the script]
       {program} status|logs|stop [--region REGION] [--profile PROFILE] [--config_file FILE] JOB

  launch   Submit a training job that runs SCRIPT, and follow it; the flags are those of 'accelerate launch'.
  status   Print the job's status; --json prints JSON.
  logs     Print the job's logs and follow them to its end; the exit status is the job's. --no_wait prints only the
           existing logs.
  stop     Stop the job and wait for its end; --no_wait doesn't wait.

--version prints the version of accel-sagemaker. Region and credentials come from the flags, the environment and the
config file, as in 'accelerate launch'.
"""


def main(argv: Sequence[str] | None = None, program: str = "accel-sagemaker") -> int:
    """Run the command that the words name; return the exit status."""
    return front.run(lambda words: _run(words, program), argv, program)


def _run(words: list[str], program: str) -> int:
    if words == ["--version"]:
        from accel_sagemaker import __version__

        show(f"accel-sagemaker {__version__}\n")
        return 0
    if words[:1] == ["launch"]:
        from accel_launch.cli import main as launch

        return launch(["--compute_environment", "AMAZON_SAGEMAKER", *words[1:]], f"{program} launch")
    if not words:
        front.say(HELP.format(program=program))
        return USAGE
    if words[0] in ("-h", "--help", "help") or "--help" in words or "-h" in words:
        show(HELP.format(program=program))
        return 0
    if words[0] not in COMMANDS:
        raise SettingError(f"{words[0]!r} isn't a command; the commands are launch, {', '.join(COMMANDS)}")
    return front.run(lambda words: COMMANDS[words[0]](*_job(words)), words, f"{program} {words[0]}")


def _job(words: list[str]) -> tuple[TrainingJob, Settings]:
    """Return the job that the words name, and the settings; flags are valid before and after the name."""
    from accel_sagemaker.service import credentials
    from accel_sagemaker.service.training import TrainingJob

    before = split(CATALOGUE, words[1:])
    if not before.script:
        raise SettingError("the job isn't named; give the name that launch printed")
    after = split(CATALOGUE, before.script[1:])
    if after.script:
        raise SettingError(f"{after.script[0]!r} is one word too many; name one job")
    typed = before.replace(values={**before.values, **after.values}, script=before.script[:1])
    found = layers(CATALOGUE, typed, os.environ)
    settings = resolve(CATALOGUE, found.values, found.notes)
    signed, notes = credentials.find(settings, os.environ)
    front.tell("accel: note", notes)
    region = credentials.region(settings, signed, os.environ)
    return TrainingJob(typed.script[0], region, signed), settings


def _status(job: TrainingJob, settings: Settings) -> int:
    state = job.describe()
    facts = {
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

        data(json.dumps(facts, indent=2) + "\n")
        return 0
    for name, value in facts.items():
        if value is not None:
            show(f"{name.replace('_', ' ')}: {one_line(str(value))}\n")
    return 0


def _logs(job: TrainingJob, settings: Settings) -> int:
    from accel_config.catalogue import SageMaker

    if settings[SageMaker].wait:
        return _follow(job, settings)
    several = job.describe().instances > 1
    for line in job.lines():
        pass_on(f"[{line.host}] {line.text}\n" if several else f"{line.text}\n")
    return 0


def _follow(job: TrainingJob, settings: Settings) -> int:
    from accel_config.catalogue import SageMaker
    from accel_launch.running.process import leave
    from accel_launch.running.report import rendering
    from accel_sagemaker.service.follow import follow

    result = follow(job, settings[SageMaker].sagemaker_poll_interval)
    front.tell("accel: note", result.notes)
    front.say(rendering.text(result, ""))
    return leave(result)


def _stop(job: TrainingJob, settings: Settings) -> int:
    """Stop the job. A job that has already ended isn't an error, and a stopped job is a success."""
    from accel_config.catalogue import SageMaker

    state = job.describe()
    if state.over:
        show(f"job {job.name} has already ended: {state.status}\n")
        return 0
    job.stop()
    if not settings[SageMaker].wait:
        show(f"job {job.name} is stopping\n")
        return 0
    import time

    while not (state := job.describe()).over:
        time.sleep(settings[SageMaker].sagemaker_poll_interval)
    show(f"job {job.name} has ended: {state.status}\n")
    return 0


COMMANDS: dict[str, Callable[[TrainingJob, Settings], int]] = {"status": _status, "logs": _logs, "stop": _stop}
