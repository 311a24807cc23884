"""The names of secrets, and what a text looks like that may hold one: a glance, without regular expressions."""

from __future__ import annotations

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
