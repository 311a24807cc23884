"""What the pages show: their blocks, each with what is said of it above."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path
from typing import NamedTuple

from tests.conftest import ROOT

PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("packages/*/README.md")),
)
BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- (?:not run: (?P<reason>[^>]+)|run with: (?P<group>\w+)) -->\n *)?"
    r"```(?P<kind>\w+)(?: title=(?P<title>\S+))?\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
FRESH = "fresh"
"""The name of no dependency group: such a block is run in a clone, in an environment with nothing but pip and uv."""
STAGE = Path(__file__).with_name("stage")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    kind: str
    title: str
    """The name of the file that it shows, if it is one."""
    text: str
    reason: str
    """Why it can't be run here, as the page says in a comment."""
    group: str
    """The dependency group in whose environment it is run, if not in ours; likewise."""

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start("kind")) + 1,
            found["kind"],
            found["title"] or "",
            textwrap.dedent(found["text"]) if found["indent"] else found["text"],
            found["reason"] or "",
            found["group"] or "",
        )
        for found in BLOCK.finditer(text)
    ]


def stage(page: Path, folder: Path) -> Path:
    """Make a folder with what a page is about: some scripts, the examples, and the files that it shows."""
    shutil.copytree(STAGE, folder)
    (folder / "examples").symlink_to(ROOT / "examples")
    for block in blocks(page):
        if block.title:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    return folder
