"""`ps`: lists the runs of this user on this machine, and the processes that are kept warm."""

from __future__ import annotations

import os

from accel_config import front
from accel_config.printable import one_line
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

MEGABYTE = 1 << 20


def main(argv: Sequence[str] | None = None, program: str = "accelerate-ps") -> int:
    """Print a line for each run and each warm process; return the exit status."""
    return front.run(lambda words: _list(words, program), argv, program)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(program, "List your runs on this machine, and the processes that --keep_warm keeps.")
    found.flag("--warm", action="store_true", help="List the processes that --keep_warm keeps, and no runs.")
    return found


def _list(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    from accel_launch.running.guardian.preloading import warm
    from accel_launch.running.onlookers.registry import asking
    from accel_launch.running.onlookers.stall.telling import duration

    lines: list[str] = []
    if not arguments.warm:
        lines += [f"run {run.name}: launcher {run.pid}" for run in asking.running(os.environ)]
    for one in warm.waiting(os.environ):
        modules = one_line(", ".join(one.modules))
        facts = (
            f"{one_line(one.script)}, {one.ranks} ranks",
            f"{modules} imported {duration(one.age)} ago",
            f"{one.memory / MEGABYTE:.0f} MB",
            f"ends in {duration(one.seconds)}",
        )
        lines.append(f"warm process (pid {one.pid}): {', '.join(facts)}")
    console.show("".join(f"{line}\n" for line in lines))
    return 0
