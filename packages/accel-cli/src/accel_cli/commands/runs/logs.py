"""`logs`: what a detached run has printed, and what it prints."""

from __future__ import annotations

import time

from accel_config import front
from accel_config.errors import AccelError
from accel_config.settings.readers import Duration
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Sequence

    from accel_cli.commands.parser import Parser
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
    selecting(found)
    found.flag("--stderr", action="store_true", help="Print standard error alone, with the launcher's lines.")
    return found


def selecting(found: Parser) -> None:
    """Add the flags that select what is printed."""
    found.flag("--rank", type=int, help="Print the output of this rank alone.")
    found.flag("--since", metavar="TIME", help="Begin with what was printed so long ago, such as 10m.")
    found.flag("--tail", type=int, metavar="N", help="Begin with the last N lines.")


def _logs(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    from accel_cli.commands.runs import ending
    from accel_launch import runs

    run = runs.open(arguments.run)
    selection = Selection(run, arguments)
    output = run.output()
    over = not run.running  # before what it has printed is read to its end
    if not selection.show(output) and arguments.rank is not None and not arguments.follow:
        where = " to standard error" if arguments.stderr else ""
        when = f" in the last {arguments.since}" if arguments.since else ""
        front.say(f"accel: rank {arguments.rank} of {run.name} has printed nothing{where}{when}\n")
    if arguments.follow and not over:
        remarks = Remarks(run, output)
        for piece in output.follow():
            if piece is None:
                remarks.look()
            elif selection.has(piece):
                show(piece.data)
        if run.status is None:
            front.say(f"accel: {ending.line(run)}\n")
    tell_missed(output, selection.older)
    return 0


class Selection:
    """What is printed of the output of a run."""

    def __init__(self, run: Run, arguments: Namespace) -> None:
        """Take what `selecting` has added.

        Raises:
            AccelError: there can't be such lines.
        """
        self.rank, self.tail, self.stderr = arguments.rank, arguments.tail, getattr(arguments, "stderr", False)
        self.since = _seconds_of(arguments.since)
        self.older = 0
        """Bytes that aren't there any more, and that nobody wants."""
        if self.tail is not None and self.tail < 0:
            raise AccelError(f"--tail: {self.tail} isn't a number of lines")
        if self.rank is not None and (ranks := run.ranks) and self.rank not in ranks:
            from accel_launch.inspecting.groups import spans

            raise AccelError(f"--rank: {run.name} has no rank {self.rank} here, only {spans(ranks)}")

    @property
    def from_now(self) -> bool:
        """Whether nothing of what is there already is wanted."""
        return self.since is None and self.tail is None

    def has(self, piece: Piece) -> bool:
        """Return whether a piece belongs to it."""
        return self.rank in (None, piece.rank) and (not self.stderr or piece.stream == STDERR)

    def show(self, output: Output) -> bool:
        """Print what is there; return whether that is anything."""
        pieces = (piece.data for piece in output.read(self.since) if self.has(piece))
        found = 0
        for data in pieces if self.tail is None else _last(pieces, self.tail):
            show(data)
            found += 1
        if self.tail is not None and found >= self.tail:
            self.older = output.missed
        return found > 0


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


def _seconds_of(text: str | None) -> float | None:
    """Return for how many seconds to print what was printed; None if that isn't limited.

    Raises:
        AccelError: it isn't a time.
    """
    try:
        return None if text is None else Duration.read(text)
    except ValueError:
        raise AccelError(f"--since: {text!r} isn't a time, such as 90s, 10m or 1h30m") from None


def _last(pieces: Iterable[bytes], count: int) -> Iterable[bytes]:
    from collections import deque

    lines: deque[bytes] = deque(maxlen=count)
    for data in pieces:
        first, *rest = data.splitlines(keepends=True) or (b"",)
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            first = lines.pop() + first
        lines.extend((first, *rest))
    return lines


def show(data: bytes) -> None:
    """Print what a rank has printed."""
    console.pass_on(data.decode(errors="surrogateescape"))
