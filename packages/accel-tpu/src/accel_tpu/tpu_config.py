"""`tpu-config`: run commands on the workers of a pod, to set them up."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from accel_config.catalogue import Launcher, Tpu
from accel_config.errors import AccelError
from accel_config.origin import FLAG

from . import pod, shell
from .options import Parser, guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from accel_config.settings import Settings
    from accel_launch.plan import Plan

    from .gcloud import Pod

DESCRIPTION = "Run commands on every worker of a TPU pod, to set it up. What isn't given comes from the config file."


def main(argv: Sequence[str] | None = None, program: str = "accel-tpu pod config") -> int:
    """Run the commands of a command line on a pod; return the status of the first worker that fails."""
    return guarded(program, lambda words: _run(words, program), argv)


def _run(words: list[str], program: str) -> int:
    parser = Parser(program, DESCRIPTION)
    parser.setting("commands", "--command")
    parser.setting("command_file")
    parser.switch("--install_accelerate", help="Install Hugging Face's library on the workers first.")
    parser.add_argument(
        *("--accelerate_version", "--accelerate-version"),
        default="latest",
        metavar="VERSION",
        help="Which version of it: latest (the default), dev, or a number.",
    )
    parsed, strange = parser.parse_known_args(words)
    if strange:
        raise AccelError(
            f"{strange[0]!r} is no flag of {program}; a command of several words is quoted (--command 'echo a b'), "
            "and several commands are each given by --command"
        )
    settings = parser.settings(parsed)
    where = pod.of(settings, alpha=parsed.use_alpha)
    if parsed.dry_run:
        return show(pod.shown(where, parsed.worker, task(settings, parsed)))
    return carry(_planned(settings, where, parsed), settings)


def _planned(settings: Settings, where: Pod, parsed: argparse.Namespace) -> Plan:
    todo = task(settings, parsed)  # what is wrong with the commands is told before gcloud is asked
    workers = pod.reach(where, parsed.worker)
    return pod.carried(where, workers, todo, python=sys.executable, grace=settings[Launcher].grace)


def task(settings: Settings, parsed: argparse.Namespace) -> pod.Task:
    """Return what the workers are to do.

    Raises:
        AccelError: there is nothing, or it can't be read.
    """
    first = [shell.install(parsed.accelerate_version)] if parsed.install_accelerate else []
    own = _commands(settings)
    if own is None and not first:
        raise AccelError(
            "there is nothing to run: --command COMMAND, --command_file FILE, --install_accelerate, "
            "or commands or command_file in the config file"
        )
    tpu = settings[Tpu]
    env = shell.variables(tpu.env, settings.origin("env"))
    return pod.Task(shell.in_folder(shell.steps(*first, *(own or ()))), env, sudo=tpu.tpu_use_sudo)


def _commands(settings: Settings) -> tuple[str, ...] | None:
    """Return the user's commands: those of the strongest layer, in which a file goes before single commands."""
    tpu = settings[Tpu]
    file, single = settings.value("command_file"), settings.value("commands")
    if file.given and single.given and file.origin.layer == single.origin.layer == FLAG:
        raise AccelError("--command and --command_file are both given: put the command into the file, or run twice")
    if tpu.command_file and (not tpu.commands or file.origin.layer <= single.origin.layer):
        text = shell.script(_read(tpu.command_file, str(file.origin)), tpu.command_file)
        return (text,)
    return tpu.commands or None


def _read(path: str, origin: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise AccelError(f"{origin}: the command file {path} can't be read: {error.strerror}") from None


def show(todo: Plan) -> int:
    """Print the plan's commands, each ready to paste."""
    from accel_config import console
    from accel_launch import process

    console.show("".join(f"{shlex.join(command.argv)}\n" for command in todo.commands))
    process.say("".join(f"accel: note: {note}\n" for note in todo.notes))
    return 0


def carry(todo: Plan, settings: Settings) -> int:
    """Carry the plan out, print how each worker ended, and return the status to exit with."""
    from accel_launch.process import leave, say
    from accel_launch.report import text
    from accel_launch.supervisor import supervise

    say("".join(f"accel: {line}\n" for line in (todo.summary, *(f"note: {note}" for note in settings.notes))))
    result = supervise(todo)
    say("".join(f"accel: note: {note}\n" for note in result.notes) + text(result, ""))
    return leave(result)
