"""What the programs in the ranks' processes import: the standard library, and each other by bare name."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

ROOM = ROOT / "packages/accel-launch/src/accel_launch/ranks"
FILES = sorted(ROOM.rglob("*.py"))
SIBLINGS = {path.stem for path in FILES} - {"__init__"} | {"system"}
PACKAGE = {".", ".system", *(f".{path.stem}" for path in ROOM.glob("system/*.py"))}
"""What may be imported relatively: the files of `system` among each other, and `system` where the launcher imports a program."""


def strangers(source: str) -> set[str]:
    """The modules that a file may not import; a relative import counts as one, since a program has no package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    known = {*sys.stdlib_module_names, *SIBLINGS}
    return {name for name in found - PACKAGE if name.partition(".")[0] not in known}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOM)))
def test_programs_of_the_ranks_stand_alone(path: Path) -> None:
    assert not strangers(path.read_text())


def test_no_sibling_hides_a_module_of_the_standard_library() -> None:
    assert {"parent", "prctl", "fork_safety"} <= SIBLINGS
    assert not SIBLINGS & sys.stdlib_module_names


def test_the_guard_sees_what_a_program_may_not_import() -> None:
    source = "import os, json.decoder, prctl, torch.cuda\nfrom .route import towards\n"
    assert strangers(f"{source}def f():\n    from accel_launch.ranks import route\n") == {
        "torch.cuda",
        ".route",
        "accel_launch.ranks",
    }
