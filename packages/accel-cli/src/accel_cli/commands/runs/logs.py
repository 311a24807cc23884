"""`logs`: what a detached run has printed, and what it prints."""

from __future__ import annotations

import os
import time

from accel_config import front
from accel_config.errors import AccelError
from accel_config.settings.readers import Duration
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterable, Iterator, Sequence

    from accel_launch.running.onlookers.registry.reading import Run
    from accel_launch.running.onlookers.registry.record.store import Piece, Reader

LOOK = 0.1  # seconds between two looks at what a run prints


def main(argv: Sequence[str] | None = None, program: str = "accelerate-logs") -> int:
    """Print the output of the run that the arguments name; return the exit status."""
    return front.run(lambda words: _logs(words, program), argv, program)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(program, "Print what a run that was started with --detach has printed, and its launcher's lines.")
    found.run()
    found.add_argument("-f", "--follow", action="store_true", help="Go on with what comes, until the run has ended.")
    found.flag("--rank", type=int, help="Print the output of this rank alone.")
    found.flag("--since", metavar="TIME", help="Begin with what was printed so long ago, such as 10m.")
    found.flag("--tail", type=int, metavar="N", help="Begin with the last N lines.")
    found.flag("--stderr", action="store_true", help="Print standard error alone, with the launcher's lines.")
    return found


def _logs(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    from accel_launch.running.onlookers.registry import reading
    from accel_launch.running.output.log_file import STDERR

    since = time_of(arguments.since)
    run = reading.find(arguments.run, os.environ, ended=True)
    reader = opened(run)

    def wanted(piece: Piece) -> bool:
        fits = arguments.rank is None or piece.rank == arguments.rank
        return fits and piece.at >= since and (not arguments.stderr or piece.stream == STDERR)

    over = not run.running  # before what it has printed is read to its end
    pieces: Iterable[Piece] = filter(wanted, reader.read())
    shown = (piece.data for piece in pieces) if arguments.tail is None else _last(pieces, arguments.tail)
    for data in shown:
        _show(data)
    if arguments.follow and not over:
        for piece in followed(run, reader):
            if piece is not None and wanted(piece):
                _show(piece.data)
    return 0


def time_of(text: str | None) -> float:
    """Return the time since when to print.

    Raises:
        AccelError: it isn't a time.
    """
    try:
        return 0.0 if text is None else time.time() - Duration.read(text)
    except ValueError:
        raise AccelError(f"--since: {text!r} isn't a time, such as 90s, 10m or 1h30m") from None


def opened(run: Run, *, from_now: bool = False) -> Reader:
    """Return what reads the output of a run.

    Raises:
        AccelError: its record keeps none.
    """
    from accel_launch.running.onlookers.registry.record import store

    if not store.kept(run.folder.path):
        raise AccelError(f"the record of {run.name} keeps no output: it wasn't started with --detach")
    return store.Reader(run.folder.path, from_now=from_now)


def followed(run: Run, reader: Reader) -> Iterator[Piece | None]:
    """Yield what a run prints until it has ended, and None after each look."""
    while True:
        run.look()
        over = not run.held
        yield from reader.read()
        yield None
        if over:
            return
        time.sleep(LOOK)


def _last(pieces: Iterable[Piece], count: int) -> list[bytes]:
    from collections import deque

    lines: deque[bytes] = deque(maxlen=max(count, 0))
    for piece in pieces:
        lines.extend(piece.data.splitlines(keepends=True))
    return list(lines)


def _show(data: bytes) -> None:
    console.pass_on(data.decode(errors="surrogateescape"))
