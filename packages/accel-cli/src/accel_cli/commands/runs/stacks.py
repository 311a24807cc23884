"""`stacks`: prints what each rank of a run does, grouped."""

from __future__ import annotations

from accel_config import front
from accel_config.errors import AccelError
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

ALONE = "`py-spy dump --pid PID` shows the stacks of any process"


def main(argv: Sequence[str] | None = None, program: str = "accelerate-stacks") -> int:
    """Print the stacks of the run that the arguments name; return the exit status."""
    return front.run(lambda words: _stacks(words, program), argv, program)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(program, "Print what each rank of a run on this machine does, grouped.")
    found.run()
    found.flag("--all_threads", action="store_true", help="Print whole stacks of all threads, and of children.")
    found.flag("--locals", action="store_true", help="Print whole stacks with the local variables of each call.")
    found.flag(
        "--native",
        action="store_true",
        help="Read calls of C, C++ and Rust as well, and print whole stacks. Each thread stands still for it, for "
        "less than a tenth of a second.",
    )
    found.flag("--json", action="store_true", help="Print everything as JSON.")
    return found


def _stacks(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    from accel_cli.commands.runs import ending
    from accel_launch import runs
    from accel_launch.inspecting import report

    children = arguments.all_threads or arguments.json
    try:
        run = runs.open(arguments.run, running=True)
    except AccelError as error:
        lines = str(error).splitlines()
        if len(lines) == 1:
            raise
        raise AccelError(*lines, ALONE) from None  # it may be about a single process
    found = run.stacks(children=children, variables=arguments.locals, native=arguments.native)
    if arguments.json:
        import json

        console.show(json.dumps(found, indent=2) + "\n")
    else:
        whole = arguments.all_threads or arguments.native
        console.show(report.text(found, threads=whole, variables=arguments.locals))
        if line := ending.awaited(run):
            console.show(f"{run.name} {line}\n")
    return 0
