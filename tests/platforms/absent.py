"""Read from typeshed what of the standard library isn't on macOS or Windows, but on Linux.

``uv run --group lint python -m tests.platforms.absent > tests/platforms/absent.txt`` writes the list that the profiles take away.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.platforms.rooms import SYSTEMS

VERSIONS = ((3, 11), (3, 12), (3, 13), (3, 14))
LIST = Path(__file__).with_name("absent.txt")


def stubs() -> Path | None:
    """The folder of the standard library's stubs, which pyright brings."""
    spec = find_spec("pyright")
    found = Path(spec.origin).parent / "dist/dist/typeshed-fallback/stdlib" if spec and spec.origin else None
    return found if found and found.is_dir() else None


@cache
def parsed(path: Path) -> list[ast.stmt]:
    """The statements of a stub."""
    return ast.parse(path.read_text()).body


class Reader:
    """The names of modules, as stubs tell them for one system and version."""

    def __init__(self, folder: Path, system: str, version: tuple[int, int]) -> None:
        self.folder, self.system, self.version = folder, system, version
        self.names = cache(self._names)

    def _names(self, module: str) -> frozenset[str]:
        path = self.folder / module.replace(".", "/")
        path = path / "__init__.pyi" if path.is_dir() else path.with_suffix(".pyi")
        if not path.exists():
            return frozenset()
        package = module if path.stem == "__init__" else module.rpartition(".")[0]
        return frozenset(self._of(parsed(path), package))

    def _of(self, body: list[ast.stmt], package: str) -> Iterator[str]:
        for node in body:
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    yield name
                case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                    yield name
                case ast.ImportFrom(names=[ast.alias(name="*")], module=module, level=level):
                    above = package.rsplit(".", level - 1)[0] if level else ""
                    yield from self.names(f"{above}.{module}".strip("."))
                case ast.ImportFrom(names=aliases):  # `import x as x` is how a stub passes a name on
                    yield from (alias.name for alias in aliases if alias.asname == alias.name)
                case ast.If():
                    yield from self._of(node.body if self._true(node.test) else node.orelse, package)
                case _:
                    pass

    def _true(self, test: ast.expr) -> bool:
        facts = {"sys": self, "TYPE_CHECKING": True}
        return bool(eval(compile(ast.Expression(test), "stub", "eval"), facts))  # noqa: S307

    @property
    def platform(self) -> str:
        """What conditions in stubs ask for."""
        return self.system

    @property
    def version_info(self) -> tuple[int, int]:
        """And this."""
        return self.version


def absent(folder: Path, system: str) -> dict[str, frozenset[str]]:
    """What modules lack there in at least one version of Python; a whole module that isn't there has ``*``."""
    found: dict[str, frozenset[str]] = {}
    for version in VERSIONS:
        here, there = (Reader(folder, name, version) for name in ("linux", system))
        for path in sorted(folder.rglob("*.pyi")):
            module = str(path.relative_to(folder).with_suffix("")).replace("/", ".").removesuffix(".__init__")
            names = {name for name in here.names(module) - there.names(module) if not name.startswith("_")}
            if names:
                left = {name for name in there.names(module) if not name.startswith("_")}
                found[module] = found.get(module, frozenset()) | (names if left else {"*"})
    return found


def written(folder: Path) -> str:
    """The list: a line for each module of each system."""
    return "".join(
        f"{system} {module}: {' '.join(['*'] if '*' in names else sorted(names))}\n"
        for system in SYSTEMS
        for module, names in sorted(absent(folder, system).items())
    )


if __name__ == "__main__":
    folder = stubs()
    if folder is None:
        sys.exit("typeshed isn't installed: sync the group `lint`")
    sys.stdout.write(written(folder))
