"""Which exception ended a rank: only what its status and the end of its output confirm."""

from __future__ import annotations

import signal

from accel_config.record import Record
from accel_launch.running.report.evidence import catching, error_file
from accel_launch.running.report.evidence.blocks import CHAINS, FRAME, HEAD, PLACE, blocks, own_place
from accel_launch.running.report.evidence.crashes import crash_in
from accel_launch.running.report.evidence.lines import LOGGED, blanked, is_noise, last_of, plain
from accel_launch.running.report.evidence.saying import is_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_launch.running.report.evidence.blocks import Block
    from accel_launch.running.report.evidence.lines import Line
    from accel_launch.running.report.observation import Output

MOST = 25  # lines of a message that isn't marked, indented ones not counted
BURST = 3.0  # seconds from the beginning of an unmarked traceback to the end of its message
LONGEST, LINES = 1000, 100  # characters of a line, and lines of a message
UNCAUGHT = 1  # Python's status
NESTED = "ChildFailedError"


class Found(Record):
    """What is known of a rank's end."""

    exception: str = ""
    """Type and whole message."""
    where: str = ""
    traceback: str = ""
    last_line: str = ""
    """The last line of its output, if no exception is known."""


def found(output: Output, status: int, number: int, recorded: str = "", since: float = 0.0) -> Found:
    """Return what ended a rank.

    Args:
        output: The end of its standard error.
        status: Its exit status.
        number: The signal that terminated it, or 0. SIGTERM is taken as one that came while it cleaned up.
        recorded: The content of its error file.
        since: When its end can have begun, in seconds since the epoch: what is older doesn't count.
    """
    lines = plain(output.text) if output.written_at > since else []
    block, message = _ending(lines, output, status, number)
    if block is not None and output.traceback_at <= since and not lines[block.start].text.startswith(PLACE):
        block = None
    if block is not None and output.ended_at - output.traceback_at > BURST and _was_handled(block, output):
        block = None
    said, stack = _recorded(recorded, since) if not number else ("", "")
    if said and (block is None or block.kind == NESTED or _kind(said) == block.kind):
        whole = plain(stack)
        inner = blocks(whole)[-1:]
        if inner or block is None:
            place = own_place(inner[0].frames) if inner else ""
            return Found(_cut(said), place, _cut_text(whole, inner[0].start if inner else None))
    if block is not None:
        return Found(_cut("\n".join(message)), _where(block, message), _cut_text(lines, block.start))
    if number:
        said, where = crash_in(lines, number)
        if said:
            return Found(_cut(said), where)
    return Found(last_line="" if number in (signal.SIGKILL, signal.SIGTERM) else last_of(lines)[:LONGEST])


def fate(output: Output, status: int, number: int, words: Sequence[str]) -> str:
    """Return whether nothing caught the exception that a rank may have ended by; empty if it ended by none.

    The ``words`` are the rank's command line. The answers are those of `catching`.
    """
    lines = plain(output.text)
    block, _message = _ending(lines, output, status, number)
    return "" if block is None else catching.fate(block, lines, words, output.began_at)


def message_in(recorded: str) -> str:
    """Return the message of an error file; empty if it holds none."""
    return error_file.read(recorded)[0]


def last_exception(text: str) -> str:
    """Return the first line of the exception that a text ends with, whatever came of it; empty if with none."""
    block, message = _uncaught(plain(text), MOST)
    return message[0] if block is not None else ""


def goes_on(text: str) -> bool:
    """Return whether a text that begins with a traceback may still be only that: one that isn't over yet."""
    lines = plain(text)
    if _uncaught(lines, MOST)[0] is not None:
        return True
    head = max((place for place, line in enumerate(lines) if line.text.endswith(HEAD)), default=0)
    rest = [line.text for line in lines[head + 1 :]]
    if all(not line or line.startswith(" ") for line in rest):
        return True
    known = blocks(lines[head:])
    return bool(known) and all(is_noise(line) or line in CHAINS for line in rest[known[0].end - 1 :])


def _ending(lines: list[Line], output: Output, status: int, number: int) -> tuple[Block | None, tuple[str, ...]]:
    """Return the traceback that fits the rank's status, and the exception's lines."""
    interrupted, terminated = number == signal.SIGINT, number == signal.SIGTERM
    if not (interrupted or terminated or (status == UNCAUGHT and not number)):
        return None, ()
    block, message = _uncaught(
        lines, most=0 if terminated or output.written_at - output.traceback_at > BURST else MOST
    )
    # Python ends itself by SIGINT for this exception, and for no other.
    fits = block is not None and (block.kind == "KeyboardInterrupt") == interrupted
    if not fits or (terminated and not (block.marked or block.outermost)):  # pyright: ignore[reportOptionalMemberAccess]
        return None, ()
    if block is None or len(message) == len(block.message):
        return block, message
    if _was_handled(block, output):
        return None, ()  # the rest is of a later moment, such as the text of `sys.exit`
    return block, block.message if is_whole(block, lines) else message


def _uncaught(lines: list[Line], most: int) -> tuple[Block | None, tuple[str, ...]]:
    """Return the traceback that a text ends with, and the exception's lines."""
    last = -1
    at = len(lines) - 1
    every = blocks(lines)
    while at >= 0:
        block = every[-1] if every and every[-1].end > at else None
        if block is None:
            if last < 0 and not is_noise(lines[at].text):
                last = at
            at -= 1
        elif block.incidental and last < 0:
            at = every.pop().start - 1
        elif block.incidental or not _goes_on(block, lines[block.end : last + 1], most):
            return None, ()
        else:
            rest = () if block.marked else (line.text for line in lines[block.end : last + 1])
            return block, (*block.message, *rest)
    return None, ()


def _goes_on(block: Block, rest: list[Line], most: int) -> bool:
    """Return whether lines after a traceback can be the rest of its message.

    Torch marks the lines of an exception that nothing caught, so its message is known. Otherwise a text doesn't tell
    a message from later output; but an exception that nothing caught is the last that Python prints, and its
    traceback begins in the script itself.
    """
    if block.marked:
        return True
    texts = [line.text for line in rest if line.text.strip() and not line.text.startswith(" ")]
    if len(texts) > most:
        return False
    if texts and ":" not in block.message[0]:
        return False  # an exception without a message
    return not texts or (block.outermost and not any(is_noise(text) or LOGGED.match(text) for text in texts))


def _was_handled(block: Block, output: Output) -> bool:
    return not block.marked and catching.handling(block, output.began_at) == catching.HANDLED


def _recorded(text: str, since: float) -> tuple[str, str]:
    """Return the exception and the traceback of an error file, unless it is of an earlier time."""
    said, stack, at = error_file.read(text)
    return ("", "") if at is not None and at + 1 < since else (said, stack)  # it counts whole seconds


def _kind(said: str) -> str:
    return said.partition(":")[0].rpartition(".")[2]


def _where(block: Block, message: tuple[str, ...]) -> str:
    """Return the deepest place in the user's code; for an exception of a worker of a data loader, there."""
    inner = [line for line in message if line.startswith("  File ")]
    if inner and "Original Traceback (most recent call last):" in message:
        frames = [frame for line in inner if (frame := FRAME.match(line))]
        return own_place(tuple((f"{frame[1]}:{frame[2]}", frame[3] or "") for frame in frames)) or own_place(
            block.frames
        )
    return own_place(block.frames)


def _cut(text: str) -> str:
    """Return a message that can be shown: printable, and not endless."""
    lines = [blanked(line).rstrip()[:LONGEST] for line in text.rstrip().split("\n")]
    if len(lines) > LINES:
        lines[LINES - 2 : -1] = ["..."]
    return "\n".join(lines)


def _cut_text(lines: list[Line], start: int | None) -> str:
    return "" if start is None else "\n".join(line.text for line in lines[start:]).rstrip() + "\n"
