"""`logs`: what a detached run has printed, and what it prints."""

from __future__ import annotations

import time

from accel_config import front
from accel_config.errors import AccelError
from accel_config.settings.readers import Duration
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterable, Sequence

    from accel_launch.runs import Output, Piece, Run

STDERR = 2
PACE = 1.0  # seconds between two looks at the launcher of a run that is followed


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
    from accel_launch import runs

    if arguments.tail is not None and arguments.tail < 0:
        raise AccelError(f"--tail: {arguments.tail} isn't a number of lines")
    since = seconds_of(arguments.since)
    run = runs.open(arguments.run)
    output = run.output()

    def wanted(piece: Piece) -> bool:
        fits = arguments.rank is None or piece.rank == arguments.rank
        return fits and (not arguments.stderr or piece.stream == STDERR)

    over = not run.running  # before what it has printed is read to its end
    pieces: Iterable[Piece] = filter(wanted, output.read(since))
    shown, older = (piece.data for piece in pieces), 0
    if arguments.tail is not None:
        shown = _last(pieces, arguments.tail)
        older = output.missed if len(shown) >= arguments.tail else 0  # nobody wants it
    nothing = True
    for data in shown:
        _show(data)
        nothing = False
    if nothing and arguments.rank is not None and not arguments.follow:
        front.say(f"accel: rank {arguments.rank} of {run.name} has printed nothing of this\n")
    if arguments.follow and not over:
        remarks = Remarks(run, output)
        for piece in output.follow():
            if piece is None:
                remarks.look()
            elif wanted(piece):
                _show(piece.data)
    tell_missed(output, older)
    return 0


class Remarks:
    """Why nothing comes from a run that is followed, once."""

    def __init__(self, run: Run, output: Output) -> None:
        """Take the run, and what is followed."""
        self.run, self.output, self.again = run, output, 0.0
        self.lost, self.losing, self.stopped = output.lost[0], False, False

    def look(self) -> None:
        """Look, where it is due, and tell what is new."""
        size, reason = self.output.lost
        if size > self.lost and not self.losing:
            front.say(f"accel: what {self.run.name} prints doesn't reach its record now: {reason}\n")
            self.losing = True
        if time.monotonic() < self.again:
            return
        self.again = time.monotonic() + PACE
        stopped = self.run.state == "stopped"
        if stopped and not self.stopped:
            pid = self.run.facts()["launcher"]
            front.say(f"accel: the launcher of {self.run.name} is stopped; `kill -CONT {pid}` lets it go on\n")
        self.stopped = stopped


def tell_missed(output: Output, but: int = 0) -> None:
    """Tell what couldn't be shown, if there is any, ``but`` for so many bytes."""
    lost, reason = output.lost
    never = f"they never reached the record: {reason}"
    for size, why in (
        (output.missed - but, "they left the record (--output_limit) before they were read"),
        (lost, never),
    ):
        if size:
            from accel_cli.commands.runs.live import sheet

            front.say(f"accel: {sheet.size(size)} aren't shown: {why}\n")


def seconds_of(text: str | None) -> float | None:
    """Return for how many seconds to print what was printed; None if that isn't limited.

    Raises:
        AccelError: it isn't a time.
    """
    try:
        return None if text is None else Duration.read(text)
    except ValueError:
        raise AccelError(f"--since: {text!r} isn't a time, such as 90s, 10m or 1h30m") from None


def _last(pieces: Iterable[Piece], count: int) -> list[bytes]:
    from collections import deque

    lines: deque[bytes] = deque(maxlen=count)
    for piece in pieces:
        first, *rest = piece.data.splitlines(keepends=True) or (b"",)
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            first = lines.pop() + first
        lines.extend((first, *rest))
    return list(lines)


def _show(data: bytes) -> None:
    console.pass_on(data.decode(errors="surrogateescape"))
