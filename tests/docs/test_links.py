"""Links on pages lead somewhere: to files that are there, and to headings that they have."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

from accel_cli.table import COMMANDS
from tests.conftest import ROOT
from tests.docs.pages import PAGES

LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for found in LINK.finditer(page.read_text()):
        link = found[1] or found[2]
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert target.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {link}; there are {sorted(anchors(target))}"


NAMED = re.compile(r"`((?:packages|tests|docs|examples|benchmarks|changes|\.ci)/[\w./-]*)`")
TEST = re.compile(r"`(?:tests/\w+/)?(test_\w+)(?:\.py)?`")
MODULE = re.compile(r"`(accel_(?:config|launch|estimate|tpu|sagemaker|cli)(?:\.\w+)*)`")


def names_of_tests() -> set[str]:
    """The names of every test, and of every file of tests."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        found |= {path.stem, *re.findall(r"^def (test_\w+)", path.read_text(), flags=re.MULTILINE)}
    return found


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_what_pages_name_is_there() -> None:
    """Paths, tests that hold a promise, and modules."""
    known = names_of_tests()
    for page in PAGES:
        text = page.read_text()
        missing = [path for path in NAMED.findall(text) if not (ROOT / path).exists()]
        missing += [name for name in TEST.findall(text) if name not in known]
        missing += [name for name in MODULE.findall(text) if not resolves(name)]
        assert not missing, f"{page.relative_to(ROOT)} names {missing}"


def test_every_page_is_reached_from_the_index() -> None:
    """Whoever begins at the README or at the index of docs/ finds each page."""
    index = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, f"docs/README.md doesn't name {page.name}"
    for command in COMMANDS:
        assert f"[`accelerate {command}`](" in index, f"docs/README.md has no page for {command}"
    assert "(docs/README.md)" in (ROOT / "README.md").read_text()
