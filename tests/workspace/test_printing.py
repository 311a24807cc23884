"""What we print goes through the two modules that make foreign text safe for a terminal."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

DOORS = {
    "accel_config/front.py": "the door to standard error",
    "accel_config/showing/console.py": "the door to standard output",
    "accel_config/showing/reference.py": "prints the reference for the repository",
    "accel_cli/main.py": "prints what is missing, where accel-config itself may be",
    "accel_launch/hosts/carrying/wire.py": "speaks with the launcher that has started it, which shows only what is text",
    "accel_launch/running/supervising/calling_process.py": "answers the launcher that has started it",
    "accel_launch/ranks/": "runs in the ranks' processes, whose output is theirs",
    "accel_cli/trial/": "runs in the ranks' processes",
    "accel_tpu/spawn.py": "runs in the ranks' processes",
    "accel_sagemaker/entry.py": "runs in the container of a job",
}


def writes(tree: ast.AST) -> Iterator[int]:
    """The lines that write to a standard stream by themselves."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        first = ast.unparse(node.args[0]) if node.args else ""
        if (
            called == "print"
            or called.startswith(("sys.stdout.write", "sys.stderr.write"))
            or (called in ("os.write", "posix.write") and first in ("1", "2"))
        ):
            yield node.lineno


def test_only_the_doors_write_to_standard_streams() -> None:
    found: list[str] = []
    used: set[str] = set()
    for path in sorted(ROOT.glob("packages/*/src/accel_*/**/*.py")):
        name = str(path).partition("/src/")[2]
        lines = [*writes(ast.parse(path.read_text()))]
        doors = [door for door in DOORS if name.startswith(door)]
        used |= set(doors) if lines else set()
        found += [] if doors else [f"{name}:{line}" for line in lines]
    assert found == []
    assert used == set(DOORS), "no longer needed here"


def test_the_guard_sees_a_write(tmp_path: Path) -> None:
    text = "print(1)\nsys.stderr.write('a')\nos.write(2, b'a')\nos.write(fd, b'a')\nself.print(1)\n"
    assert [*writes(ast.parse(text))] == [1, 2, 3]


def test_parsers_come_from_the_module_that_quotes_words() -> None:
    """A plain `ArgumentParser` prints unknown words as they are."""
    found = [
        str(path)
        for path in ROOT.glob("packages/*/src/accel_*/**/*.py")
        if "ArgumentParser(" in path.read_text() and path.name != "arguments.py"
    ]
    assert found == []


def test_an_error_gets_each_of_its_lines_by_itself() -> None:
    """Line ends inside a line are taken for a stranger's, and shown as escapes."""
    found = [
        f"{path.name}:{raised.lineno}"
        for path in ROOT.glob("packages/*/src/accel_*/**/*.py")
        for raised in ast.walk(ast.parse(path.read_text()))
        if isinstance(raised, ast.Raise) and raised.exc is not None
        for node in ast.walk(raised.exc)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value
    ]
    assert found == []
