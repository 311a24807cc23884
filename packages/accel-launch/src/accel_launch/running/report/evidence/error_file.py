"""The files of torch's error protocol, which its decorator ``@record`` writes."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


LIMIT = 1 << 16  # characters of a message or a traceback


def read(text: str) -> tuple[str, str, float | None]:
    """Return the message, the traceback, and when it was written, if known; empty ones if it isn't valid.

    A script can write anything there. What isn't text becomes its Python notation; nothing is longer than `LIMIT`.
    """
    nothing = "", "", None
    if not text:
        return nothing
    try:
        message: Any = _entry(json.loads(text), "message")
        if not isinstance(message, dict):
            return _text(message), "", None
        extra = _entry(message, "extraInfo")
        return (
            _text(_entry(message, "message")),
            _text(_entry(extra, "py_callstack")),
            _number(_entry(extra, "timestamp")),
        )
    except (ValueError, RecursionError):
        return nothing


def _entry(content: Any, name: str) -> Any:
    return content.get(name) if isinstance(content, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _text(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else str(value)
    return text[:LIMIT].encode(errors="replace").decode()  # JSON can hold halves of characters


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
