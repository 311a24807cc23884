"""Settings as text for people and programs: each key with its value and where that came from."""

from __future__ import annotations

from .masking import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .settings import Settings

WIDEST = 40


def word(value: object) -> str:
    """Return a value as files and flags spell it; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(word(item) for item in value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, dict):
        import json

        return json.dumps(value)
    return str(value)


def line(value: object) -> str:
    """Return a value for people, on one line: what moves the cursor, or can't be seen, in escapes."""
    text = word(value)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def as_json(settings: Settings) -> str:
    """Return every setting that a file may hold, and any other that was given, as JSON by key."""
    import json

    told = {key: {"value": value, "origin": origin} for key, value, origin in _rows(settings)}
    return json.dumps(told, indent=2) + "\n"


def table(settings: Settings) -> str:
    """Return the same for people: what somebody said first, then what is built in."""
    rows = [(key, line(value) or "-", origin) for key, value, origin in _rows(settings)]
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "".join(f"{key:<{wide[0]}}  {text:<{min(wide[1], WIDEST)}}  {origin}\n" for key, text, origin in rows)


def _rows(settings: Settings) -> list[tuple[str, object, str]]:
    pairs = [(one, value) for one, value in settings if one.key or value.given]
    pairs.sort(key=lambda pair: not pair[1].given)
    return [(one.key or one.name, shown(one, value), value.origin.text) for one, value in pairs]
