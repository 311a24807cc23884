"""How values are written into config files: YAML, or JSON where the file's name ends so."""

from __future__ import annotations

import json

from accel_config.reading.json_text import escaped
from accel_config.settings.readers import Duration
from accel_config.settings.span import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_config.settings.declaration import Setting

WORDS = {"true": True, "false": False}


def plain(one: Setting, value: object) -> object:
    """Return a setting's value in the types of a file: lists for tuples, booleans for the choices that are such."""
    if isinstance(value, tuple):
        return list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, (Span, Duration)):
        return value.plain
    return WORDS.get(value, value) if one.choices and isinstance(value, str) else value


def document(content: Mapping[str, object], path: str) -> str:
    """Return a whole file, its keys sorted."""
    if path.endswith(".json"):
        return escaped(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)) + "\n"
    import yaml

    return yaml.safe_dump(dict(content), sort_keys=True, allow_unicode=True, width=float("inf"))


def translated(text: str, path: str) -> str:
    """Return YAML in the format of the file at ``path``; JSON has no comments."""
    if not path.endswith(".json"):
        return text
    import yaml

    return document(yaml.safe_load(text), path)


def scalar(value: object, path: str) -> str:
    """Return a value on one line, fit to stand in a mapping in block or in flow style."""
    if path.endswith(".json"):
        return escaped(json.dumps(value, ensure_ascii=False))
    import yaml

    if isinstance(value, str) and not value.isprintable():
        return yaml.safe_dump(value, default_style='"', width=float("inf")).strip()
    text: str = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.strip()[1:-1]
