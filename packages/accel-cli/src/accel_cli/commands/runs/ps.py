"""`ps`: lists the runs of this user on this machine, and the processes that are kept warm."""

from __future__ import annotations

import os
import time

from accel_config import front
from accel_config.showing import console
from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence
    from typing import Any

    from accel_launch.runs import Run

MEGABYTE = 1 << 20
HEAD = ("NAME", "STATE", "RANKS", "AGE", "ENDED", "CPU", "MEMORY", "LAST LINE")


def main(argv: Sequence[str] | None = None, program: str = "accelerate-ps") -> int:
    """Print a line for each run and each warm process; return the exit status."""
    return front.run(lambda words: _list(words, program), argv, program)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(program, "List your runs on this machine, and the processes that --keep_warm keeps.")
    found.add_argument("-a", "--all", action="store_true", help="List runs that have ended too.")
    found.flag("--json", action="store_true", help="Print the runs as JSON.")
    found.flag("--warm", action="store_true", help="List the processes that --keep_warm keeps, and no runs.")
    return found


def _list(words: list[str], program: str) -> int:
    if {*words} <= {"-a", "--all", "--json", "--warm"}:  # argparse takes longer to import than the rest
        every, as_json, warm = "-a" in words or "--all" in words, "--json" in words, "--warm" in words
    else:
        typed = parser(program).parse_args(words)
        every, as_json, warm = typed.all, typed.json, typed.warm
    if not warm:
        from accel_cli.commands.runs import listing
        from accel_launch import runs

        found = runs.list(ended=every, lost=True)
        facts = runs.facts(found, brief=not as_json)
        if as_json:
            import json

            console.data(json.dumps(facts, indent=2) + "\n")
            return 0
        if found:
            columns = console.width(os.environ) if console.is_terminal() else None
            rows = [HEAD, *(_row(*each, columns) for each in zip(found, facts, strict=True))]
            console.show(listing.table(rows, columns))
        elif not every:
            front.say("accel: no run is running; accelerate ps -a lists those that have ended\n")
    if not as_json:
        console.show("".join(f"{line}\n" for line in _warm()))
    return 0


def _row(run: Run, facts: dict[str, Any], columns: int | None) -> tuple[str, ...]:
    from accel_launch.machine.clock import duration

    living, count = facts["running_ranks"], facts["ranks"]
    cpu, memory = facts["cpu"], facts["device_memory"]
    return (
        run.name,
        run.words if columns is None else run.words.partition(":")[0],
        f"{living} of {count}" if facts["ended"] is None and living != count else f"{count or '?'}",
        duration(run.age),
        "" if facts["ended"] is None else f"{duration(max(0.0, time.time() - facts['ended']))} ago",
        "" if cpu is None else f"{cpu:.1f}",
        "" if memory is None else f"{memory / MEGABYTE:.0f} MB",
        one_line(facts["line"]),
    )


def _warm() -> list[str]:
    from accel_launch.machine import files

    if not files.kept(os.environ, "warm"):
        return []
    from accel_launch.machine.clock import duration
    from accel_launch.running.guardian.preloading import warm

    lines: list[str] = []
    for one in warm.waiting(os.environ):
        modules = one_line(", ".join(one.modules))
        facts = (
            f"{one_line(one.script)}, {one.ranks} ranks",
            f"{modules} imported {duration(one.age)} ago",
            f"{one.memory / MEGABYTE:.0f} MB",
            f"ends in {duration(one.seconds)}",
        )
        lines.append(f"warm process (pid {one.pid}): {', '.join(facts)}")
    return lines
