"""Values without their secrets, for the screen, reports, manifests and dry runs."""

from __future__ import annotations

from accel_config.settings.readers import Duration
from accel_config.settings.span import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from accel_config.settings.declaration import Setting
    from accel_config.settings.origin import Value

MASK = "***"
SECRET_WORDS = (
    "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "PASSCODE", "CREDENTIAL", "KEY", "AUTH", "JWT", "BEARER",
    "COOKIE", "SIGNATURE",
)  # fmt: skip
SECRET_PARTS = frozenset(("PASS", "PWD", "PAT", "SIG", "DSN"))
"""Words that mark a secret only between hyphens, underscores or ends: ``DB_PASS``, but not ``bypass``."""
INNOCENT = "TOKENIZER"
"""Contains a secret word, but names nothing secret."""
FOLDERS = frozenset(("PWD", "OLDPWD"))
PLACES = frozenset(("FILE", "PATH", "DIR"))
"""The last word of names whose value is where a secret is kept."""
PLAIN = frozenset(("", "true", "false", "none", "null", "yes", "no"))
STARTS = (
    "hf_", "api_org_", "sk-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "AKIA", "ASIA", "xox",
    "AIza", "ya29.", "nvapi-", "wandb_v1_", "npm_", "pypi-", "sk_", "rk_", "SG.", "eyJ",
)  # fmt: skip
"""The letters that each form begins with, for a glance at a text before regular expressions are imported."""


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
    from accel_config.showing.secrets import without

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
    from accel_config.showing.secrets import without

    return without(line, prose=True)


def secret(name: str) -> bool:
    """Whether a variable, key or flag of this name holds a secret."""
    upper = name.upper().replace(INNOCENT, "")
    parts = upper.replace("-", "_").strip("_").split("_")
    if parts[-1] in PLACES or upper in FOLDERS:
        return False
    return any(word in upper for word in SECRET_WORDS) or not SECRET_PARTS.isdisjoint(parts)


def concealed(name: str, value: object) -> object:
    """Return the value of a secret name, masked: unless it is a mere switch, or a count (``max_new_tokens``)."""
    plain = value is None or str(value).lower() in PLAIN
    counted = name.lower().endswith(("tokens", "heads", "dim", "size", "length", "len", "id")) and _number(value)
    return value if plain or counted else MASK


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, str) and value.isdecimal() and len(value) < 10)  # noqa: PLR2004


def suspicious(text: str, *, prose: bool = False) -> bool:
    """Whether ``text`` may hold a secret, at a glance."""
    if any(sign in text for sign in ("://", "=", "PRIVATE KEY", "hooks.slack", *STARTS)):
        return True
    upper = text.upper()
    named = any(word in upper for word in (*SECRET_WORDS, *SECRET_PARTS))
    return named and (
        not prose
        or '":' in text
        or "':" in text
        or "', '" in text
        or "--" in text
        or "BEARER" in upper
        or "AUTHORIZATION" in upper
    )
