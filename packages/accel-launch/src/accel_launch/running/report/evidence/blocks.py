"""Tracebacks in lines of text, in the forms that Python, exception groups and rich give them."""

from __future__ import annotations

import re

from accel_config.record import Record
from accel_launch.running.report.evidence.lines import INCIDENTAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.report.evidence.lines import Line

HEAD = "Traceback (most recent call last):"
GROUP = "  + Exception Group Traceback (most recent call last):"
PLACE = '  File "'
"""How the error of a script that can't be compiled begins, instead of a head."""
BEFORE_HEAD = re.compile(r"$|.*\d%\||.*\b(?:it/s|s/it)\]$|.*\?it/s")
"""What may stand before the head in its line: a progress bar that wasn't finished."""
FRAME = re.compile(r'\s*>?\s*File "([^"]*)", line (\d+)(?:, in (.*))?$')
EXCEPTION = re.compile(
    r"(?:[^\W\d]\w*\.|<locals>\.)*(?:[A-Z]\w*|\w*(?:error|timeout|exception|interrupt|exit)\w*)(?::|$)"
)
"""How the line after the frames begins: the type's name, with its module."""
UNCOMPILED = re.compile(r"(?:SyntaxError|IndentationError|TabError): ")
CHAINS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
MARGIN = re.compile(r" +[|+]")
BOX = re.compile(r"[╭┌+][─━-]+ .*Traceback \(most recent call last\) .*[─━-]+[╮┐+]$")
BOX_END = re.compile(r"[╰└+][─━-]+[╯┘+]$")
BOX_FRAME = re.compile(r"(\S.*):(\d+)\s*in\s*(.+)$")
INSTALLED = ("/site-packages/", "/dist-packages/", "/lib/python3.", "/lib64/python3.")


class Block(Record):
    """One traceback, with those that it is chained to."""

    start: int
    """The index of its first line."""
    end: int
    """The index after its last line, as far as that is certain: a message may go on."""
    frames: tuple[tuple[str, str], ...]
    """Place (``FILE:LINE``) and function of each frame of the last exception, the outermost first."""
    message: tuple[str, ...]
    """The lines of the exception: its type, and its message as far as it certainly goes."""
    marked: bool = False
    """Whether torch marked it as one that nothing caught; its end is certain then."""
    incidental: bool = False
    """Whether it is one that ends no script."""

    @property
    def outermost(self) -> bool:
        """Whether it begins in the script itself, as that of an exception does that nothing caught."""
        return bool(self.frames) and self.frames[0][1] in ("<module>", "_run_module_as_main")

    @property
    def kind(self) -> str:
        """The name of the exception's type, without its module."""
        return self.message[0].partition(":")[0].rpartition(".")[2]


def blocks(lines: list[Line]) -> list[Block]:
    """Return the tracebacks in a text, in their order."""
    found: list[Block] = []
    at = 0
    while at < len(lines):
        block = _read(lines, at)
        if block is None:
            at += 1
            continue
        found.append(_joined(lines, block, found.pop() if _chained(lines, at, found) else None))
        at = block.end
    return found


def _read(lines: list[Line], at: int) -> Block | None:
    line = lines[at].text
    if line.endswith(HEAD) and BEFORE_HEAD.match(line.removesuffix(HEAD)):
        return _plain(lines, at)
    if line == GROUP:
        return _group(lines, at)
    if BOX.match(line):
        return _box(lines, at)
    if line.startswith(PLACE):
        return _uncompiled(lines, at)
    return None


def _chained(lines: list[Line], at: int, found: list[Block]) -> bool:
    """Return whether the exception that begins here came while the one before it was handled."""
    before = at - 1
    while before >= 0 and not lines[before].text:
        before -= 1
    return bool(found) and before >= found[-1].end and lines[before].text.strip(" |") in CHAINS


def _joined(lines: list[Line], block: Block, before: Block | None) -> Block:
    if before is not None:
        # A worker of a pool sends its traceback as text in quotes: what it did is deeper than what waited for it.
        deeper = before.frames if before.start and lines[before.start - 1].text == '"""' else ()
        return block.replace(start=before.start, incidental=before.incidental, frames=block.frames + deeper)
    above = next((line.text for line in reversed(lines[max(0, block.start - 2) : block.start]) if line.text), "")
    return block.replace(incidental=bool(INCIDENTAL.match(above)))


def _plain(lines: list[Line], at: int) -> Block | None:
    frames, place = _frames(lines, at + 1)
    if not frames or place == len(lines) or not EXCEPTION.match(lines[place].text):
        return None
    end = place + 1
    if lines[at].marked:
        while end < len(lines) and (lines[end].marked or not lines[end].text) and not _begins(lines[end]):
            end += 1
        while not lines[end - 1].text:
            end -= 1
    return Block(at, end, frames, tuple(line.text for line in lines[place:end]), marked=lines[at].marked)


def _begins(line: Line) -> bool:
    return line.text in (HEAD, *CHAINS) or line.text.startswith("[W")


def _frames(lines: list[Line], at: int) -> tuple[tuple[tuple[str, str], ...], int]:
    """Return the frames from a line on, and the index of the first line after them that isn't indented."""
    frames: list[tuple[str, str]] = []
    while at < len(lines) and (not lines[at].text or lines[at].text.startswith((" ", ">"))):
        frame = FRAME.match(lines[at].text)
        if frame is not None:
            frames.append((f"{frame[1]}:{frame[2]}", frame[3] or ""))
        at += 1
    return tuple(frames), at


def _uncompiled(lines: list[Line], at: int) -> Block | None:
    """Return the error of a script that can't be compiled: it has a place, but no head."""
    frame = FRAME.match(lines[at].text)
    _inner, end = _frames(lines, at + 1)
    if frame is None or frame[3] or end == len(lines) or not UNCOMPILED.match(lines[end].text) or end - at > 4:  # noqa: PLR2004
        return None
    return Block(at, end + 1, ((f"{frame[1]}:{frame[2]}", "<module>"),), (lines[end].text,))


def _group(lines: list[Line], at: int) -> Block | None:
    """Return an exception group: its own frames, and the line of each exception in it."""
    end = at + 1
    while end < len(lines) and MARGIN.match(lines[end].text):
        end += 1
    inside = [line.text for line in lines[at + 1 : end]]
    own = [line[4:] for line in inside if line.startswith("  | ")]
    matches = (FRAME.match(line) for line in own)
    frames = tuple((f"{frame[1]}:{frame[2]}", frame[3] or "") for frame in matches if frame is not None)
    said = next((line for line in own if EXCEPTION.match(line)), "")
    if not said or not frames:
        return None
    parts = [line.strip(" |") for line in inside if line.startswith("    ")]
    members = tuple(f"  {part}" for part in parts if EXCEPTION.match(part) and not part.endswith(HEAD))
    return Block(at, end, frames, (said, *members), marked=lines[at].marked)


def _box(lines: list[Line], at: int) -> Block | None:
    """Return a traceback that rich has drawn: a box with the frames, and the exception below it."""
    end = next((place for place in range(at + 1, len(lines)) if BOX_END.match(lines[place].text)), len(lines))
    frames: list[tuple[str, str]] = []
    path: str | None = ""
    for line in lines[at + 1 : end]:
        inside = line.text[1:-1].strip()
        if not inside:
            path = ""
        elif path is not None:  # a long path goes on in the next line
            path += inside
            frame = BOX_FRAME.match(path)
            if frame is not None:
                frames.append((f"{frame[1]}:{frame[2]}", frame[3]))
                path = None
    place = end + 1
    if not frames or place >= len(lines) or not EXCEPTION.match(lines[place].text):
        return None
    return Block(at, place + 1, tuple(frames), (lines[place].text,), marked=lines[at].marked)


def own_place(frames: tuple[tuple[str, str], ...]) -> str:
    """Return the deepest place in the user's code, else the deepest in a file; code without a file has none."""
    files = [place for place, _function in frames if not place.startswith("<")]
    return next(
        (place for place in reversed(files) if not any(part in place for part in INSTALLED)), (files or [""])[-1]
    )
