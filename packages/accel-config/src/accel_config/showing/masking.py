"""Values without their secrets, for the screen, reports, manifests and dry runs."""

from __future__ import annotations

from accel_config.settings.readers import Duration
from accel_config.settings.span import Span
from accel_config.showing.secrets import MASK, concealed, secret, suspicious, without

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from accel_config.settings.declaration import Setting
    from accel_config.settings.origin import Value


def shown(one: Setting, value: Value) -> object:
    """Return the value without secrets, in the types of JSON."""
    if value.value is None:
        return None
    if one.secret:
        return MASK
    if isinstance(value.value, (Span, Duration)):
        return value.value.plain
    if one.masked:
        items: Any = value.value
        return [_name_only(str(item)) for item in items]
    return masked(value.value)


def masked(value: object) -> object:
    """Return ``value``, which may nest, without the values of secret names, also inside texts and command lines."""
    if isinstance(value, dict):
        return _mapping(value)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, (list, tuple)):
        return words(value)  # pyright: ignore[reportUnknownArgumentType]
    return text(value) if isinstance(value, str) else value


def words(items: Iterable[object]) -> list[object]:
    """Return the items of a list, which may be the words of a command line, without secrets."""
    found: list[object] = []
    flag = ""
    for item in items:
        after_flag, flag = flag, ""
        if after_flag and not str(item).startswith("-"):
            found.append(concealed(after_flag, item))
            continue
        found.append(masked(item))
        last = item.split()[-1].strip("\"'()[]{},") if isinstance(item, str) and item.strip() else ""
        flag = last if last.startswith("-") and "=" not in last and secret(last) else ""
    return found


def command_line(argv: Iterable[str]) -> list[str]:
    """Return the words of a command line without secrets."""
    return [str(word) for word in words(argv)]


def environment(environ: Mapping[str, str], settings: Mapping[str, Setting] | None = None) -> dict[str, str]:
    """Return the variables with the secret ones masked; ``settings`` are those that the variables set."""
    known = settings or {}
    return {name: MASK if _hidden(name, known.get(name)) else text(value) for name, value in environ.items()}


def holds_secret(one: Setting, value: str) -> bool:
    """Whether the text of a setting's variable is secret, or has a secret inside: it stays on this machine."""
    return one.secret or one.masked or text(value) != value


def _mapping(value: Mapping[Any, Any]) -> dict[str, object]:
    """Mask a mapping, also one of a list like ``[{"name": "DB_PASS", "value": "x"}]``."""
    found: dict[str, object] = {}
    named = next((str(value[key]) for key in value if str(key).lower() in ("name", "key")), "")
    for key, inner in value.items():
        name = str(key)
        if (str(key).lower() == "value" and secret(named)) or (
            secret(name) and not (named and name.lower() == "key")
        ):
            found[name] = concealed(named if name.lower() == "value" else name, inner)
        else:
            found[text(name)] = masked(inner)
    return found


def _hidden(name: str, one: Setting | None) -> bool:
    return secret(name) or (one is not None and (one.secret or one.masked))


def _name_only(item: str) -> str:
    name, equals, _value = item.partition("=")
    return f"{name}={MASK}" if equals else text(name)  # a secret may have been typed in place of a name


def text(value: str) -> str:
    """Return a text without secrets: those that names, headers, addresses or their own form give away."""
    if not suspicious(value):
        return value
    inner = _json(value) if value[:1] in ("{", "[") else None
    if inner is not None:
        return inner
    return without(value)


def _json(value: str) -> str | None:
    """Return JSON without secrets, as it is if it has none; None if this isn't JSON."""
    import json

    try:
        found = json.loads(value)
        safe = masked(found)
        return value if safe == found else json.dumps(safe)
    except (ValueError, RecursionError):
        return None


def sentence(line: str) -> str:
    """Return a sentence of ours, which may quote a value, without secrets. A flag's name hides no word after it."""
    if not suspicious(line, prose=True):
        return line
    return without(line, prose=True)
