"""Someone new finds a file by its name and reads it in one sitting: rooms have few entries, files and classes an end."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

ENTRIES, LINES, CLASS = 13, 300, 170
"""The most files and folders of a room, lines of a file, and lines of a class."""
LONGER = {"spawn.py": "one program, which torch_xla's processes import again by its path"}
"""Files that may be longer, and why."""


def rooms() -> Iterator[Path]:
    """The folders of the packages that hold modules; the stand-ins for Hugging Face's package keep its shape."""
    for package in ROOT.glob("packages/*/src/accel_*"):
        for folder in (package, *package.rglob("*")):
            if any(folder.glob("*.py")) and "_compat" not in folder.parts:
                yield folder


def crowded(folder: Path) -> list[str]:
    """What is in a room, if that is too much."""
    names = [
        path.name for path in folder.iterdir() if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))
    ]
    inside = sorted({*names} - {"__init__.py", "__main__.py"})
    return inside if len(inside) > ENTRIES else []


def long(path: Path) -> list[str]:
    """What of a file is too long."""
    text = path.read_text()
    found = [path.name] if text.count("\n") > LINES and path.name not in LONGER else []
    classes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef))
    return found + [node.name for node in classes if (node.end_lineno or 0) - node.lineno >= CLASS]


def test_rooms_are_not_crowded() -> None:
    found = list(rooms())
    assert len(found) > 30
    assert {str(room.relative_to(ROOT)): inside for room in found if (inside := crowded(room))} == {}


def test_files_and_classes_have_an_end() -> None:
    files = [path for room in rooms() for path in room.glob("*.py")]
    assert {str(path.relative_to(ROOT)): names for path in files if (names := long(path))} == {}


def test_the_guards_see_what_is_too_much(tmp_path: Path) -> None:
    for number in range(ENTRIES + 1):
        (tmp_path / f"part_{number}.py").write_text("class Big:\n" + "    x = 1\n" * LINES)
    assert len(crowded(tmp_path)) == ENTRIES + 1
    assert long(tmp_path / "part_0.py") == ["part_0.py", "Big"]
