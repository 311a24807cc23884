"""`attach`: a detached run in this terminal again, until it ends or Ctrl-C leaves it."""

from __future__ import annotations

import os
import signal

from accel_config import front
from accel_config.errors import FAILED
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None, program: str = "accelerate-attach") -> int:
    """Show the run that the arguments name; return its exit status, or 0 if it goes on."""
    return front.run(lambda words: _attach(words, program), argv, program)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(
        program,
        "Print what a run that was started with --detach prints from now on, and exit with its status. Ctrl-C leaves "
        "it, and it goes on.",
    )
    found.run()
    found.flag("--since", metavar="TIME", help="Begin with what was printed so long ago, such as 10m.")
    found.flag(
        "--stop_on_interrupt", action="store_true", help="Let Ctrl-C interrupt the run, instead of leaving it."
    )
    return found


def _attach(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    from accel_cli.commands.runs.logs import followed, opened, time_of
    from accel_launch.running.onlookers.registry import acting, reading

    since = time_of(arguments.since)
    run = reading.find(arguments.run, os.environ)
    reader = opened(run, from_now=arguments.since is None)
    interrupts: list[int] = []
    # An exception in the middle of what is printed would lose some of it, or print it twice.
    signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
    for piece in followed(run, reader):
        if piece is not None and piece.at >= since:
            console.pass_on(piece.data.decode(errors="surrogateescape"))
        if interrupts and not arguments.stop_on_interrupt:
            front.say(
                f"\naccel: detached from {run.name}, which goes on; accelerate attach {run.name} returns to it\n"
            )
            return 0
        if interrupts:
            interrupts.clear()
            acting.send(run, signal.SIGINT)
    run.look()
    return FAILED if run.status is None else run.status
