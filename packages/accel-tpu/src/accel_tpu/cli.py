"""`accel-tpu`: commands on a pod, and the launcher of scripts, where `accelerate` isn't installed."""

from __future__ import annotations

import shlex
import sys

from .options import Parser, guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = """\
usage: accel-tpu COMMAND [arguments]

commands:
  pod run      Run one command on every worker of a TPU pod.
  pod config   Set a pod up: the same as `accelerate tpu-config`.
  launch       Start a training script: the same as `accelerate launch`.

accel-tpu COMMAND --help tells what a command takes.
"""


def main(argv: Sequence[str] | None = None, program: str = "accel-tpu") -> int:
    """Run the command that ``argv`` names; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    match words:
        case ["launch", *rest]:
            from accel_launch.cli import main as launch

            return launch(rest, f"{program} launch")
        case ["pod", "config", *rest]:
            from .tpu_config import main as config

            return config(rest, f"{program} pod config")
        case ["pod", "run", *rest]:
            return guarded(f"{program} pod run", lambda own: _run(own, f"{program} pod run"), rest)
        case ["-h" | "--help"]:
            sys.stdout.write(USAGE)
            return 0
        case _:
            sys.stderr.write(USAGE)
            return 2


def _run(words: list[str], program: str) -> int:
    from accel_config.catalogue import Launcher, Tpu

    from . import pod, shell
    from .tpu_config import carry, show

    own, dashes, command = _cut(words)
    parser = Parser(
        program,
        "Run one command on every worker of a TPU pod, in the login's home.",
        usage=f"{program} [flags] -- PROGRAM [arguments]",
    )
    parsed = parser.parse_args(own)
    settings = parser.settings(parsed)
    if not dashes or not command:
        parser.error("there is no command: give it behind --, program and arguments as they are")
    tpu = settings[Tpu]
    where = pod.of(settings, alpha=parsed.use_alpha)
    env = shell.variables(tpu.env, settings.origin("env"))
    task = pod.Task("exec " + shlex.join(command), env, sudo=tpu.tpu_use_sudo)
    if parsed.dry_run:
        return show(pod.shown(where, parsed.worker, task))
    workers = pod.reach(where, parsed.worker)
    return carry(pod.carried(where, workers, task, python=sys.executable, grace=settings[Launcher].grace), settings)


def _cut(words: list[str]) -> tuple[list[str], bool, list[str]]:
    if "--" not in words:
        return words, False, []
    place = words.index("--")
    return words[:place], True, words[place + 1 :]
