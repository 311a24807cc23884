"""Plain data as JSON, without the module `json`, whose import a launch would feel."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_quoted: Any = __import__("_json").encode_basestring_ascii  # of the interpreter itself


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
