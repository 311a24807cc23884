"""`attach`: a detached run in this terminal again, until it ends or Ctrl-C leaves it."""

from __future__ import annotations

import os
import signal
import time

from accel_config import front
from accel_config.errors import FAILED, AccelError
from accel_config.showing.printable import one_line

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
    from accel_cli.commands.runs import logs

    found = Parser(
        program,
        "Print what a run that was started with --detach prints from now on, and exit with its status. Ctrl-C leaves "
        "it, with status 0, and it goes on.",
    )
    found.run()
    logs.selecting(found)
    found.flag(
        "--stop_on_interrupt", action="store_true", help="Let Ctrl-C interrupt the run, instead of leaving it."
    )
    return found


def _attach(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    from accel_cli.commands.runs import ending, logs
    from accel_launch import runs

    going = None if arguments.run is not None else next(iter(runs.list()), None)
    run = going or runs.open(arguments.run)
    selection = logs.Selection(run, arguments)
    output = run.output(from_now=selection.from_now)
    window, remarks = Window(run), logs.Remarks(run, output)
    interrupts: list[int] = []
    # An exception in the middle of what is printed would lose some of it, or print it twice.
    signal.signal(signal.SIGINT, lambda number, _frame: interrupts.append(number))
    if run.running:
        front.say(_attached(run, "interrupts" if arguments.stop_on_interrupt else "leaves", selection.from_now))
    elif selection.from_now:
        front.say(f"accel: {run.name} has ended; accelerate logs {run.name} prints what it printed\n")
    if selection.tail is not None:
        selection.show(output)
    for piece in output.follow(selection.since):
        if piece is None:
            window.follow()
            remarks.look()
        elif selection.has(piece):
            logs.show(piece.data)
        if interrupts and not arguments.stop_on_interrupt:
            front.say(
                f"\naccel: detached from {run.name}, which goes on; accelerate attach {run.name} returns to it\n"
            )
            return 0
        if interrupts:
            interrupts.clear()
            run.send(signal.SIGINT)
    logs.tell_missed(output, selection.older)
    front.say(f"accel: {ending.line(run)}\n")
    return FAILED if run.status is None else run.status


def _attached(run: Run, does: str, quiet: bool) -> str:
    """Return the line about a run that goes on, which may print nothing for long; ``does`` is what Ctrl-C does."""
    line = one_line(run.facts()["line"]) if quiet else ""
    last = f", last line: {line}" if line else ""
    return f"accel: attached to {run.name} ({run.words}{last}); Ctrl-C {does} it\n"


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
            terminals = self.run.resize(lines, columns)
        except AccelError:  # it is stopped, say
            return
        if terminals:
            self.told = lines, columns
