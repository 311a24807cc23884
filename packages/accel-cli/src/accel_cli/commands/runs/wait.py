"""`wait`: waits until a run has ended."""

from __future__ import annotations

from accel_config import front

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None, program: str = "accelerate-wait") -> int:
    """Wait for the run that the arguments name; return its exit status."""
    return front.run(lambda words: _wait(words, program), argv, program)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(program, "Wait until a run on this machine has ended, and exit with its status.")
    found.run()
    return found


def _wait(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    from accel_cli.commands.runs.ending import told
    from accel_launch import runs

    run = runs.open(arguments.run)
    run.wait()
    return told(run)
