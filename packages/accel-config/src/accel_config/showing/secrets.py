"""Secrets: by a value's name; inside a text by the name before them, the header or address, or their form.

Each step takes time in proportion to the text: what a person or a job puts into a variable can be long. A glance
(`suspicious`) needs no regular expressions.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import Match

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

# How well-known services begin their tokens, and of what at least as many characters follow.
FORMS = (
    r"hf_[A-Za-z0-9]{16,}",
    r"api_org_[A-Za-z0-9]{16,}",
    r"sk-[\w-]{16,}",
    r"gh[pousr]_[A-Za-z0-9]{16,}",
    r"github_pat_\w{16,}",
    r"glpat-[\w-]{16,}",
    r"(?:AKIA|ASIA)[A-Z0-9]{12,}",
    r"xox[a-z]-[\w-]{8,}",
    r"AIza[\w-]{30,}",
    r"ya29\.[\w-]{16,}",
    r"nvapi-[\w-]{16,}",
    r"wandb_v1_\w{16,}",
    r"npm_[A-Za-z0-9]{16,}",
    r"pypi-[\w-]{16,}",
    r"[rs]k_(?:live|test)_\w{8,}",
    r"SG\.[\w-]{16,}\.[\w-]{16,}",
    r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+",
)
BLOCK = r"-----BEGIN ([A-Z ]*PRIVATE KEY[A-Z ]*)-----(?!\*\*\*).*?(?:-----END \1-----|\Z)"
# The user and password of an address. A password may hold unquoted slashes, a port doesn't.
ADDRESS = r"(?<![\w+.-])([A-Za-z][\w+.-]*+://)(?:[^\s/?#\"']{1,400}|[^\s/@:]{0,200}+:(?!\d+(?:[/?#]|\s|\Z))[^\s\"']{0,400})@"
HOOK = r"(hooks\.slack\.com/(?:services|workflows)/)[^\s\"']++"
NAME = r"(?<![\w-])[\w-]++"
HEADERS = ("AUTHORIZATION", "COOKIE")
SCHEMES = r"(?i)(?:basic|bearer|digest|token|negotiate|aws4-hmac-sha256)\s+"


def without(text: str, *, prose: bool = False) -> str:
    """Return ``text`` without secrets; in ``prose``, a flag and its value are joined by ``=``."""
    import re

    text = re.sub(BLOCK, rf"-----BEGIN \1-----{MASK}", text, flags=re.DOTALL)
    text = re.sub(ADDRESS, rf"\1{MASK}@", text)
    text = re.sub(HOOK, rf"\1{MASK}", text)
    text = _named(text, prose)
    return re.sub(rf"(?<![A-Za-z0-9])(?:{'|'.join(FORMS)})", MASK, text)


def _named(text: str, prose: bool) -> str:
    """Mask the values of secret names: ``NAME=value``, ``--name value``, ``"name": value``, ``Name: value``."""
    import re

    names = re.compile(NAME)
    parts: list[str] = []
    done = 0
    while (found := names.search(text, done)) is not None:
        name = found[0]
        value = _value(text, found, prose) if secret(name) or name.lower() == "bearer" else None
        if value is None:
            parts.append(text[done : found.end()])
            done = found.end()
        else:
            start, end = value
            safe = str(concealed(name, text[start:end].strip("\"'\\")))
            kept = text[start:end] if safe != MASK else MASK
            parts += [text[done:start], kept]
            done = end
    return "".join([*parts, text[done:]])


def _value(text: str, name: Match[str], prose: bool) -> tuple[int, int] | None:
    """Return where the value of a secret name begins and ends; None if none follows."""
    import re

    if any(header in name[0].upper() for header in HEADERS):
        return _header(text, name)
    if name[0].lower() == "bearer":
        sign = re.compile(r"\s++(?=\S)").match(text, name.end())
    else:
        sign = re.compile(r"""\\*+["']?\s*+=\s*+|\\*+["']\s*+:\s*+""").match(text, name.end())
        if sign is None and name[0].startswith("-") and (not prose or _quoted(text, name.start())):
            sign = re.compile(r"""["']?[\s,]\s*+(?=["']?[^\s"'-])""").match(text, name.end())
        elif sign is None and not prose:
            sign = re.compile(r"\s*+:\s*+(?=\S)").match(text, name.end())
    if sign is None and name[0].startswith("-"):
        sign = re.compile(r"""["']\s*+,\s*+(?=["'])""").match(text, name.end())  # the next word of a list
    if sign is None:
        return None
    start = sign.end()
    if text.startswith(MASK, start):
        return start, start + len(MASK)
    joined = ":" in sign[0]
    quote = re.compile(r"""(\\*+["'])""").match(text, start)
    if quote is not None:
        close = text.find(quote[0], quote.end())
        return start, len(text) if close < 0 else close + len(quote[0])
    end = re.compile(r"[^\s,}\]]*+" if joined else r"\S*+").match(text, start)
    return (start, end.end()) if end is not None and end.end() > start else None


def _header(text: str, name: Match[str]) -> tuple[int, int] | None:
    """Return where a header's value is, up to the quote or the end of the line; its scheme stays."""
    import re

    sign = re.compile(r"""\\*+["']?\s*+[:=]\s*+\\*+["']?""").match(text, name.end())
    if sign is None:
        return None
    scheme = re.compile(SCHEMES).match(text, sign.end())
    start = scheme.end() if scheme is not None else sign.end()
    end = re.compile(r"""[^\n"'\\]*+""").match(text, start)
    return (start, end.end()) if end is not None and end.end() > start else None


def _quoted(text: str, place: int) -> bool:
    """Whether this place of a sentence is inside a quotation, which begins after a space or a bracket."""
    import re

    return re.search(r"""(?:^|[\s(\[:,])['"][^'"]*\Z""", text[max(0, place - 400) : place]) is not None


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
