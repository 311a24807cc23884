"""Settings and values as text: spelled as in flags and files, on one line, or named in a message."""

from __future__ import annotations

from accel_config.showing.masking import shown
from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings


def describe(settings: Settings, *names: str) -> str:
    """Name settings with their values and origins: ``module true (-m) and no_python true (--no_python)``."""
    known = settings.catalogue.by_name
    named = ((known[name], settings.value(name)) for name in names)
    return one_line(" and ".join(f"{one.name} {_text(shown(one, value))} ({value.origin})" for one, value in named))


def _text(value: object) -> str:
    return str(value) if value is None else line(value)


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
    """Return a value for people, on one line, with escapes for what is invisible or moves the cursor."""
    return one_line(word(value))
