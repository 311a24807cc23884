"""`top`: shows what each rank of a run does now, in the terminal or as a page."""

from __future__ import annotations

import os
import sys
import time

from accel_config import front
from accel_config.errors import AccelError
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from accel_cli.commands.runs.live.watch import Watch

BETWEEN = 0.5  # seconds between the two looks that a table without a terminal needs
LAST_PORT = 65535


def main(argv: Sequence[str] | None = None, program: str = "accelerate-top") -> int:
    """Show the run that the arguments name until it ends or is left; return the exit status."""
    return front.run(lambda words: _top(words, program), argv, program)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(
        program,
        "Show what each rank of a run on this machine does now, until the run ends or q leaves it, and it goes on. "
        "Without a terminal: print one table.",
    )
    found.run()
    found.flag("--web", action="store_true", help="Serve a page on this machine that shows the same, until Ctrl-C.")
    found.flag("--port", type=int, help="Port of the page; a free one by default.")
    return found


def _top(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    if arguments.port is not None and not arguments.web:
        raise AccelError("--port is the port of a page; add --web")
    if not 0 <= (arguments.port or 0) <= LAST_PORT:
        raise AccelError(f"--port: {arguments.port} isn't a port, from 0 to {LAST_PORT}")
    from accel_cli.commands.runs.live.watch import Watch
    from accel_launch import runs

    watch = Watch(runs.open(arguments.run, running=True))
    if arguments.web:
        from accel_cli.commands.runs.live import server

        return server.serve(watch, arguments.port or 0)
    if _has_terminal():
        return _show(watch)
    watch.look()
    if not watch.sheet.ended:
        time.sleep(BETWEEN)
        watch.look()
    console.show(_table(watch))
    return 0


def _has_terminal() -> bool:
    """Return whether there is a terminal that can show screens and give keys."""
    if os.environ.get("TERM") in (None, "", "dumb") or not console.is_terminal():
        return False
    return sys.stdin is not None and sys.stdin.isatty()  # pyright: ignore[reportUnnecessaryComparison]


def _show(watch: Watch) -> int:
    from accel_cli.commands.runs.live.terminal import Ended, Terminal
    from accel_cli.commands.runs.live.viewer import Viewer

    try:
        with Terminal() as terminal:
            over = Viewer(watch, terminal).show()
    except Ended as ended:
        return ended.die()
    if over:
        console.show(_table(watch))
    else:
        front.say(f"accel: left {watch.run.name}, which goes on; accelerate top {watch.run.name} returns to it\n")
    return 0


def _table(watch: Watch) -> str:
    """Return the run and its ranks as plain text."""
    from accel_cli.commands.runs import listing

    found = watch.sheet
    columns = console.width(os.environ) if console.is_terminal() else None
    rows = listing.table([found.columns, *(row.cells for row in found.rows)], columns) if found.rows else ""
    heads = ("  ".join((found.name, found.state, *found.facts)), found.note)
    facts = "".join(f"{listing.cut(line, columns)}\n" for line in heads if line)
    return f"{facts}{rows}{found.ended}{bool(found.ended) * chr(10)}"
