"""`tpu-config`: run commands on the workers of a pod to set them up."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from accel_config import front
from accel_config.catalogue import Launcher, Tpu
from accel_config.errors import AccelError
from accel_config.settings.origin import FLAG
from accel_tpu import pod, shell
from accel_tpu.options import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from accel_config.settings.resolved import Settings
    from accel_launch.planning.types import Plan

DESCRIPTION = "Run commands on every worker of a TPU pod to set it up. The config file supplies flags that you omit."


def main(argv: Sequence[str] | None = None, program: str = "accel-tpu pod config") -> int:
    """Run the commands of a command line on a pod; return the exit status of the first worker that fails."""
    return front.run(lambda words: _run(words, program), argv, program)


def parser(program: str) -> Parser:
    """Return the parser of the command's arguments."""
    found = Parser(program, DESCRIPTION)
    found.setting("commands", "--command")
    found.setting("command_file")
    found.switch(
        "--install_accelerate",
        help="First install Hugging Face's accelerate on the workers, and accel-tpu, which `launch` needs there.",
    )
    found.add_argument(
        *("--accelerate_version", "--accelerate-version"),
        default="latest",
        metavar="VERSION",
        help="Version to install: latest, dev, or a version number. [default: latest]",
    )
    return found


def _run(words: list[str], program: str) -> int:
    flags = parser(program)
    parsed, unknown = flags.parse_known_args(words)
    if unknown:
        raise AccelError(
            f"{unknown[0]!r} isn't a flag of {program}; quote a command of several words (--command 'echo a b') "
            "and repeat --command for several commands"
        )
    settings = flags.settings(parsed)
    target = pod.from_settings(settings, alpha=parsed.use_alpha)
    commands = task(settings, parsed)  # checks the commands before any call of gcloud
    if parsed.dry_run:
        return show(pod.preview(target, parsed.worker, commands))
    workers = pod.workers(target, parsed.worker)
    plan = pod.plan(target, workers, commands, python=sys.executable, grace=float(settings[Launcher].grace))
    return carry_out(plan, settings)


def task(settings: Settings, parsed: argparse.Namespace) -> pod.Task:
    """Return the task of each worker.

    Raises:
        AccelError: there is no command, or the command file can't be read.
    """
    first = shell.install(parsed.accelerate_version) if parsed.install_accelerate else ()
    own = _commands(settings)
    if own is None and not first:
        raise AccelError(
            "there is nothing to run; give --command COMMAND, --command_file FILE or --install_accelerate, "
            "or set commands or command_file in the config file"
        )
    tpu = settings[Tpu]
    env = shell.variables(tpu.env, settings.origin("env"))
    return pod.Task(shell.in_folder(shell.steps(*first, *(own or ()))), env, sudo=tpu.tpu_use_sudo)


def _commands(settings: Settings) -> tuple[str, ...] | None:
    """Return the user's commands: those of the strongest layer, and its file before its single commands."""
    tpu = settings[Tpu]
    file, single = settings.value("command_file"), settings.value("commands")
    if file.given and single.given and file.origin.layer == single.origin.layer == FLAG:
        raise AccelError(
            "--command and --command_file can't be combined; move the command into the file, or run this twice"
        )
    if tpu.command_file and (not tpu.commands or file.origin.layer <= single.origin.layer):
        return (shell.script(_read(tpu.command_file, str(file.origin)), tpu.command_file),)
    return tpu.commands or None


def _read(path: str, origin: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise AccelError(f"{origin}: the command file {path} can't be read: {error.strerror}") from None


def show(plan: Plan) -> int:
    """Print the plan's commands, each ready to paste."""
    from accel_config.showing import console

    console.data("".join(f"{shlex.join(command.argv)}\n" for command in plan.commands))
    front.tell("accel: note", plan.notes)
    return 0


def carry_out(plan: Plan, settings: Settings) -> int:
    """Carry out the plan, print how each worker ended, and return the exit status."""
    from accel_launch.running.process import leave
    from accel_launch.running.report.rendering import text
    from accel_launch.running.supervisor import supervise

    front.tell("accel", (plan.summary, *(f"note: {note}" for note in settings.notes)))
    result = supervise(plan)
    front.tell("accel: note", result.notes)
    front.say(text(result, ""))
    return leave(result)
