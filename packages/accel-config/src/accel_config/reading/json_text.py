"""JSON as YAML: the same language but for some characters, which are written as escapes."""

from __future__ import annotations

import json
import re
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STRANGE = "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
"""Characters that JSON may hold, and that YAML may not, or takes for ends of lines."""
_PAIR = r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})"
_CHANGED = re.compile(rf"{_PAIR}|\\.|{STRANGE}", re.IGNORECASE)


def as_yaml(text: str) -> tuple[str, Callable[[int], int]]:
    """Return JSON as YAML, with the function that finds the place in ``text`` of a place there."""
    parts: list[str] = []
    ends: list[int] = []
    shifts = [0]
    done = length = 0
    for found in _CHANGED.finditer(text):
        old = found[0]
        new = json.loads(f'"{old}"') if found[1] else old if old[0] == "\\" else f"\\u{ord(old):04x}"
        if new == old:
            continue
        parts += [text[done : found.start()], new]
        length += len(parts[-2]) + len(new)
        done = found.end()
        ends.append(length)
        shifts.append(done - length)
    # A tab can't stand inside a JSON string, and YAML allows none between tokens.
    yaml = ("".join(parts) + text[done:]).replace("\t", " ")
    return yaml, lambda place: place + shifts[bisect_right(ends, place)]


def escaped(text: str) -> str:
    """Return JSON with escapes for the characters that YAML may not hold, or takes for ends of lines."""
    return re.sub(STRANGE, lambda found: f"\\u{ord(found[0]):04x}", text)
