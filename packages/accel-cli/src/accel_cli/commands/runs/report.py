"""`report`: how a run ended, and what its time was spent on."""

from __future__ import annotations

from accel_config import front
from accel_config.showing import console
from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None, program: str = "accelerate-report") -> int:
    """Print the report of the run that the arguments name; return the exit status."""
    return front.run(lambda words: _report(words, program), argv, program)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(program, "Print how a run on this machine ended, and what its time was spent on.")
    found.run()
    found.flag("--json", action="store_true", help="Print what `launch --report` writes, and `time_spent`, as JSON.")
    return found


def _report(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    from accel_cli.commands.runs import ending
    from accel_launch import runs

    run = runs.open(arguments.run)
    if arguments.json:
        import json

        found = run.report() or {**run.facts(), "gaps": [*run.gaps], "time_spent": run.time_spent()}
        console.data(json.dumps(found, indent=2) + "\n")
        return 0
    lines = f"{run.name}: {run.words}\n{run.report_text()}\n"
    if line := ending.awaited(run):
        lines += f"  {line}\n"
    if (line := run.standstill) and "standing still" not in lines:
        lines += f"  {one_line(line)}\n"
    if line := runs.facts([run], brief=True)[0]["line"]:
        lines += f"  last line: {one_line(line)}\n"
    console.show(lines.replace("\n\n", "\n") + "".join(f"  {line}\n" for line in run.time_words()))
    return 0
