"""How settings are named in messages: with what they are and where that came from."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings import Settings


def said(settings: Settings, *names: str) -> str:
    """Name settings with their values and origins: ``module true (-m) and no_python true (--no_python)``."""
    return " and ".join(f"{name} {_text(settings, name)} ({settings.origin(name)})" for name in names)


def _text(settings: Settings, name: str) -> str:
    value = settings.value(name).value
    return str(value).lower() if isinstance(value, bool) else str(value)
