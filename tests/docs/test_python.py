"""Python that a page shows runs, and gives what the page says.

A comment behind an expression is the expression's value where it is a literal: the two are compared.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, Block, blocks, stage

# accel-estimate's own tests run its page's, with a Hub on loopback.
SHOWN = [
    block
    for page in PAGES
    if page.parent.name != "accel-estimate"
    for block in blocks(page)
    if block.kind == "python"
]
VALUE = re.compile(r"^(\S.*?)  # (.+)$", re.MULTILINE)


def checked(source: str) -> str:
    """The source with each value that a comment gives asserted."""

    def check(found: re.Match[str]) -> str:
        try:
            value = ast.literal_eval(found[2])
        except (SyntaxError, ValueError):
            return found[0]
        return f"assert ({found[1]}) == {value!r}, ({found[1]})"

    return VALUE.sub(check, source)


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: block.place)
def test_python_on_a_page_runs(block: Block, tmp_path: Path, environ: dict[str, str]) -> None:
    if block.reason:
        pytest.skip(block.reason)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", checked(block.text)],
        cwd=stage(block.page, tmp_path / "project"),
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_values_are_compared() -> None:
    assert checked("a.b  # ('x', 1)\nc = 1  # the sum\n") == "assert (a.b) == ('x', 1), (a.b)\nc = 1  # the sum\n"
