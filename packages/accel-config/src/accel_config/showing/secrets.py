"""Secrets inside a text: found by the name before them, by the header or address they stand in, or by their form.

Each step takes time in proportion to the text: what a person or a job puts into a variable can be long.
"""

from __future__ import annotations

from accel_config.showing.masking import MASK, concealed, secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import Match

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
