"""`accel-tpu`: run commands on a pod, and launch scripts, where `accelerate` isn't installed."""

from __future__ import annotations

import shlex
import sys

from accel_config import front
from accel_config.errors import USAGE
from accel_config.showing.console import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = """\
usage: accel-tpu COMMAND [arguments]

commands:
  pod run      Run one command on every worker of a TPU pod.
  pod config   Set up a pod: the same as `accelerate tpu-config`.
  launch       Start a training script: the same as `accelerate launch`.

accel-tpu COMMAND --help shows the arguments of a command; accel-tpu --version shows the version.
"""


def main(argv: Sequence[str] | None = None, program: str = "accel-tpu") -> int:
    """Run the command that ``argv`` names; return the exit status."""
    return front.run(lambda words: _command(words, program), argv, program)


def _command(words: list[str], program: str) -> int:
    match words:
        case ["launch", *rest]:
            from accel_launch.cli import main as launch

            return launch(rest, f"{program} launch")
        case ["pod", "config", *rest]:
            from accel_tpu.tpu_config import main as config

            return config(rest, f"{program} pod config")
        case ["pod", "run", *rest]:
            own = f"{program} pod run"
            return front.run(lambda words: _run(words, own), rest, own)
        case ["-h" | "--help"]:
            show(HELP)
            return 0
        case ["--version"]:
            from accel_tpu import __version__

            show(f"accel-tpu {__version__}\n")
            return 0
        case _:
            front.say(HELP)
            return USAGE


def _run(words: list[str], program: str) -> int:
    from accel_config.catalogue import Launcher, Tpu
    from accel_tpu import pod, shell
    from accel_tpu.options import Parser
    from accel_tpu.tpu_config import carry_out
    from accel_tpu.tpu_config import show as preview

    own, dashes, command = _cut(words)
    parser = Parser(
        program,
        "Run one command on every worker of a TPU pod, in the home folder of the login.",
        usage=f"{program} [flags] -- PROGRAM [arguments]",
    )
    parsed = parser.parse_args(own)
    settings = parser.settings(parsed)
    if not dashes or not command:
        parser.error("there is no command; write the program and its arguments after --")
    tpu = settings[Tpu]
    target = pod.from_settings(settings, alpha=parsed.use_alpha)
    env = shell.variables(tpu.env, settings.origin("env"))
    task = pod.Task("exec " + shlex.join(command), env, sudo=tpu.tpu_use_sudo)
    if parsed.dry_run:
        return preview(pod.preview(target, parsed.worker, task))
    workers = pod.workers(target, parsed.worker)
    return carry_out(
        pod.plan(target, workers, task, python=sys.executable, grace=float(settings[Launcher].grace)), settings
    )


def _cut(words: list[str]) -> tuple[list[str], bool, list[str]]:
    """Return the words before the first ``--``, whether there is one, and the words after it."""
    if "--" not in words:
        return words, False, []
    place = words.index("--")
    return words[:place], True, words[place + 1 :]
