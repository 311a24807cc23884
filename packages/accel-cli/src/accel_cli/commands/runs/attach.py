"""`attach`: a detached run in this terminal again, until it ends or Ctrl-C leaves it."""

from __future__ import annotations

import os
import signal
import time

from accel_config import front
from accel_config.errors import FAILED, AccelError
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from accel_launch.runs import Run

AGAIN = 1.0  # seconds between two tries to pass on the size of the terminal


def main(argv: Sequence[str] | None = None, program: str = "accelerate-attach") -> int:
    """Show the run that the arguments name; return its exit status, or 0 if it goes on."""
    return front.run(lambda words: _attach(words, program), argv, program)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(
        program,
        "Print what a run that was started with --detach prints from now on, and exit with its status. Ctrl-C leaves "
        "it, with status 0, and it goes on.",
    )
    found.run()
    found.flag("--since", metavar="TIME", help="Begin with what was printed so long ago, such as 10m.")
    found.flag(
        "--stop_on_interrupt", action="store_true", help="Let Ctrl-C interrupt the run, instead of leaving it."
    )
    return found


def _attach(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    from accel_cli.commands.runs import ending
    from accel_cli.commands.runs.logs import Remarks, seconds_of, tell_missed
    from accel_launch import runs

    since = seconds_of(arguments.since)
    going = None if arguments.run is not None else next(iter(runs.list()), None)
    run = going or runs.open(arguments.run)
    if not run.running and since is None:
        front.say(f"accel: {run.name} has ended; accelerate logs {run.name} prints what it printed\n")
    output = run.output(from_now=since is None)
    window, remarks = Window(run), Remarks(run, output)
    interrupts: list[int] = []
    # An exception in the middle of what is printed would lose some of it, or print it twice.
    signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
    for piece in output.follow(since):
        if piece is None:
            window.follow()
            remarks.look()
        else:
            console.pass_on(piece.data.decode(errors="surrogateescape"))
        if interrupts and not arguments.stop_on_interrupt:
            front.say(
                f"\naccel: detached from {run.name}, which goes on; accelerate attach {run.name} returns to it\n"
            )
            return 0
        if interrupts:
            interrupts.clear()
            run.send(signal.SIGINT)
    tell_missed(output)
    status = run.status
    if status is None:
        front.say(f"accel: {ending.line(run)}\n")
    return FAILED if status is None else status


class Window:
    """The size of this terminal, for the terminals of ranks that have some."""

    def __init__(self, run: Run) -> None:
        self.run, self.told, self.again = run, (0, 0), 0.0

    def follow(self) -> None:
        """Pass on the size if it is another one than before."""
        try:
            columns, lines = os.get_terminal_size(1)
        except OSError:  # no terminal
            return
        if (lines, columns) == self.told or time.monotonic() < self.again or not self.run.terminals:
            return
        self.again = time.monotonic() + AGAIN
        try:
            self.run.resize(lines, columns)
        except AccelError:  # it is stopped, say
            return
        self.told = lines, columns
