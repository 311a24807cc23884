"""What may be shown of a value: no secret leaves by the screen, a report or a dry run."""

from __future__ import annotations

from .span import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .origin import Value
    from .section import Setting

MASK = "***"
SECRET_WORDS = (
    "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "KEY", "AUTH", "JWT", "BEARER",
)  # fmt: skip
INNOCENT = "TOKENIZER"
"""Begins like one of them, and stands in many names."""


def shown(one: Setting, value: Value) -> object:
    """Return the value as it may be shown, in the types of JSON."""
    if value.value is None:
        return None
    if one.secret:
        return MASK
    if isinstance(value.value, Span):
        return value.value.plain
    if one.masked:
        items: Any = value.value
        return [_name_only(str(item)) for item in items]
    return masked(value.value)


def masked(value: object) -> object:
    """Return ``value``, which may nest, without what stands under a secret's name or inside a text beside one."""
    if isinstance(value, dict):
        return {name: MASK if secret(str(name)) else masked(inner) for name, inner in value.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, (list, tuple)):
        return [masked(item) for item in value]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return _text(value) if isinstance(value, str) else value


def secret(name: str) -> bool:
    """Whether a variable or key of this name holds what nobody should see."""
    upper = name.upper().replace(INNOCENT, "")
    return any(word in upper for word in SECRET_WORDS)


def environment(environ: Mapping[str, str], settings: Mapping[str, Setting] | None = None) -> dict[str, str]:
    """Return the variables with the secret ones masked; ``settings`` are those that variables of these names set."""
    known = settings or {}
    return {name: MASK if _hidden(name, known.get(name)) else _text(text) for name, text in environ.items()}


def _hidden(name: str, one: Setting | None) -> bool:
    return secret(name) or (one is not None and (one.secret or one.masked))


def _name_only(text: str) -> str:
    name, equals, _value = text.partition("=")
    return f"{name}={MASK}" if equals else name


def _text(text: str) -> str:
    """Mask ``NAME=value``, ``--name value`` and ``Bearer value`` of secret names, and who signs in at an address."""
    if not any(sign in text for sign in "=@") and not secret(text):
        return text
    import re

    words = "|".join(SECRET_WORDS)
    name = rf"[\w-]*(?!{INNOCENT})(?:{words})[\w-]*"
    text = re.sub(rf"(?i)({name}=|--{name}\s+)(\"[^\"]*\"|'[^']*'|\S+)", rf"\1{MASK}", text)
    text = re.sub(r"(?i)\b(bearer\s+)\S+", rf"\1{MASK}", text)
    return re.sub(r"(\w+://)[^\s/@]+@", rf"\1{MASK}@", text)  # a token may stand where the user's name does
