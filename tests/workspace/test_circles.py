"""No module imports itself by way of others, wherever the imports stand: read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("accel_config", "accel_launch", "accel_estimate", "accel_tpu", "accel_sagemaker", "accel_cli")


def modules(source: Path) -> dict[str, Path]:
    """The files of a package by the names that they are imported under."""
    found: dict[str, Path] = {}
    for path in source.rglob("*.py"):
        parts = path.relative_to(source.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of ``known`` that a file names in its imports: at the top, in functions, and for types alone."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inner = {f"{base}.{alias.name}" for alias in node.names}
            found |= {one if one in known else base for one in inner}
    return {one for one in found if one in known} - {name}


def circles(graph: dict[str, set[str]]) -> Iterator[frozenset[str]]:
    """The sets of modules that each reach all the others (of more than one module)."""
    reached = {name: _reach(name, graph) for name in graph}
    seen: set[str] = set()
    for name in graph:
        circle = frozenset(other for other in reached[name] if name in reached[other])
        if circle and name not in seen:
            seen |= circle
            yield circle


def _reach(start: str, graph: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [*graph[start]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name]
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle(package: str) -> None:
    known = modules(ROOT / "packages" / package.replace("_", "-") / "src" / package)
    assert len(known) > 1
    found = circles({name: imports(name, path, known) for name, path in known.items()})
    assert not [sorted(circle) for circle in found]


def test_the_guard_sees_every_way_to_import(tmp_path: Path) -> None:
    source = tmp_path / "parts"
    (source / "room").mkdir(parents=True)
    for name, text in {
        "__init__.py": "from parts.top import x\n",
        "top.py": "import parts.room.low\n",
        "room/__init__.py": "",
        "room/low.py": "def f():\n    from parts.room import mid\n",
        "room/mid.py": "if TYPE_CHECKING:\n    from .. import top\n",
        "alone.py": "from parts import top\nimport os\n",
    }.items():
        (source / name).write_text(text)
    known = modules(source)
    graph = {name: imports(name, path, known) for name, path in known.items()}
    assert list(circles(graph)) == [frozenset({"parts.top", "parts.room.low", "parts.room.mid"})]
