"""Plain data as JSON and back, without the module `json`: what it imports takes as long as a bare interpreter."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ESCAPED = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}


def _quoted(value: str) -> str:
    """Return a text in quotes, with escapes for all that isn't ASCII; a character beyond 16 bits is two escapes."""
    if value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(letter: str) -> str:
    number = ord(letter)
    if number in ESCAPED:
        return ESCAPED[number]
    if 32 <= number < 127:  # noqa: PLR2004  ASCII
        return letter
    if number > 0xFFFF:  # noqa: PLR2004
        number -= 0x10000
        return f"\\u{0xD800 | number >> 10:04x}\\u{0xDC00 | number & 0x3FF:04x}"
    return f"\\u{number:04x}"


def text(value: object) -> str:
    """Return a value of dicts, lists, texts and numbers as JSON on one line; anything else becomes a text."""
    found: Any = value
    if isinstance(value, str):
        return _quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value) if value - value == 0 else "null"  # JSON has no infinity
    if isinstance(value, (list, tuple)):
        return f"[{', '.join([text(inner) for inner in found])}]"
    if isinstance(value, dict):
        return "{" + ", ".join([f"{_quoted(str(name))}: {text(found[name])}" for name in found]) + "}"
    return _quoted(str(found))


class _Reading:
    """How the part of `json` that is written in C reads."""

    strict, object_hook, object_pairs_hook = True, None, None
    parse_float, parse_int, parse_constant = float, int, float


def value(text: str) -> Any:
    """Return what a JSON text holds.

    Raises:
        ValueError: it isn't one.
        RecursionError: it is too deep.
    """
    form: Any = _Reading
    try:
        from _json import make_scanner

        found, end = make_scanner(form)(text, 0)
        if not text[end:].strip():
            return found
    except (ImportError, StopIteration, SystemError, ValueError):  # another Python, or a text that may be none
        pass
    import json

    return json.loads(text)
