"""Each message that the page on troubleshooting quotes is still in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
QUOTED = re.findall(r"^### `(.*)`$", PAGE.read_text(), flags=re.MULTILINE)
HOLE = "…"


def texts() -> Iterator[str]:
    """Every text in the code but docstrings, with `…` where something is put in."""
    for path in ROOT.glob("packages/*/src/**/*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if node in docstrings:
                continue
            if isinstance(node, ast.JoinedStr):
                yield re.sub(f"{HOLE}+", HOLE, "".join(map(shown, node.values)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@cache
def said() -> list[str]:
    return list(texts())


def shown(part: ast.expr) -> str:
    """Return a part of an f-string: a setting that `describe` names is shown as ``NAME … (…)``."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    match part:
        case ast.FormattedValue(value=ast.Call(func=ast.Name(id="describe"), args=[_, ast.Constant(value=name)])):
            return f"{name} {HOLE} ({HOLE})"
        case _:
            return HOLE


def is_said(quoted: str) -> bool:
    """Whether some text holds the quoted one; a `…` at its ends may stand for the text's own ends."""
    return any(quoted.strip(f"{HOLE} ") in text for text in said())


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_message_is_in_the_code(quoted: str) -> None:
    assert is_said(quoted), f"no message says {quoted!r}: docs/troubleshooting.md is out of date"


def test_the_page_quotes_and_the_search_can_fail() -> None:
    assert len(QUOTED) > 20
    assert all(len(quoted.replace(HOLE, "").strip()) > 10 for quoted in QUOTED)
    assert not is_said("there are only … gadgets for … ranks")
