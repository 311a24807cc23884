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

    found = Parser(
        program,
        "Wait until runs on this machine have ended, and exit with the status of the first that didn't end with 0.",
    )
    found.runs()
    return found


def _wait(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    from accel_cli.commands.runs import ending

    return ending.of_each(arguments.run, program, lambda run: run.wait())
