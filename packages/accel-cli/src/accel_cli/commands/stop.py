"""`stop`: ends the processes that are kept warm."""

from __future__ import annotations

import os

from accel_config import front
from accel_config.errors import AccelError
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None, program: str = "accelerate-stop") -> int:
    """End what the arguments name; return the exit status."""
    return front.run(lambda words: _stop(words, program), argv, program)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(program, "End the processes that --keep_warm keeps on this machine.")
    found.flag("--warm", action="store_true", help="End your processes that wait for the same launch again.")
    return found


def _stop(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    if not arguments.warm:
        raise AccelError("what should be stopped? --warm ends the processes that --keep_warm keeps")
    from accel_launch.running.guardian.preloading import warm

    pids = warm.stop(os.environ)
    console.show("".join(f"stopped warm process (pid {pid})\n" for pid in pids) or "no process is kept warm\n")
    return 0
