"""The page of the Python API, made from the docstrings: what each package exports, field by field.

``python -m tests.docs.api > docs/api.md``
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator

import griffe

from tests.conftest import ROOT

PACKAGES = ("accel_config", "accel_launch", "accel_estimate", "accel_tpu", "accel_sagemaker")
INTRODUCTION = """\
# Python API

<!-- Made by `python -m tests.docs.api`; change the docstrings instead. -->

Each package exports the names below; everything else is internal and may change in any release. Types are written as in the
source. [launch.md](launch.md#from-python) has an example that runs.
"""


@functools.cache
def load() -> dict[str, griffe.Module]:
    """Read the packages without importing them."""
    loader = griffe.GriffeLoader(
        search_paths=[ROOT / "packages" / name.replace("_", "-") / "src" for name in PACKAGES],
        allow_inspection=False,
        docstring_parser="google",
        docstring_options={"warn_unknown_params": False, "warnings": False},
    )
    found = {name: loader.load(name) for name in PACKAGES}
    loader.resolve_aliases(external=False)
    return found  # pyright: ignore[reportReturnType]


def exported(package: griffe.Module) -> Iterator[tuple[str, griffe.Object]]:
    """Yield the names that a package exports, each with what it stands for."""
    for name in map(str, package.exports or ()):
        if name.startswith("__"):
            continue
        one = package[name]
        yield name, one.final_target if one.is_alias else one


def fields(one: griffe.Object) -> list[griffe.Attribute]:
    """Return the public fields of a class, in the order of their declaration."""
    return [
        member
        for name, member in one.members.items()
        if isinstance(member, griffe.Attribute) and not name.startswith("_") and member.annotation is not None
    ]


def methods(one: griffe.Object) -> list[griffe.Function]:
    """Return the public methods of a class."""
    return [member for name, member in one.members.items() if isinstance(member, griffe.Function) and name[0] != "_"]


def properties(one: griffe.Object) -> list[griffe.Attribute]:
    """Return the properties of a class."""
    return [
        member
        for name, member in one.members.items()
        if isinstance(member, griffe.Attribute) and "property" in member.labels and name[0] != "_"
    ]


def text(one: griffe.Object) -> str:
    """Return a docstring without its sections, in Markdown."""
    if one.docstring is None:
        return ""
    parts = [str(part.value) for part in one.docstring.parsed if part.kind is griffe.DocstringSectionKind.text]
    return "\n\n".join(parts).replace("``", "`").strip()


def page() -> str:
    """Return the page as Markdown."""
    parts = [INTRODUCTION]
    for name, package in load().items():
        parts.append(f"\n## {name}\n")
        parts.append(text(package).partition("\n\n")[0] + "\n")
        for public, one in exported(package):
            parts += _entry(public, one)
    return "\n".join(parts)


def _entry(name: str, one: griffe.Object) -> Iterator[str]:
    if isinstance(one, griffe.Function):
        yield f"### `{name}{_signature(one)}`\n"
        yield _described(one)
        return
    yield f"### `{name}`\n"
    yield _described(one)
    rows = [
        f"| `{field.name}` | {_code(field.annotation)} | {_code(field.value)} | {_cell(field)} |"
        for field in fields(one)
        if "property" not in field.labels
    ]
    rows += [f"| `{each.name}` | {_code(each.annotation)} | | {_cell(each)} |" for each in properties(one)]
    if rows:
        yield "\n".join(["| field | type | default | meaning |", "| --- | --- | --- | --- |", *rows]) + "\n"
    for method in methods(one):
        yield f"#### `{name}.{method.name}{_signature(method)}`\n"
        yield _described(method)


def _described(one: griffe.Object) -> str:
    """Return a docstring with its arguments, its result and its errors."""
    parts = [text(one)]
    for part in one.docstring.parsed if one.docstring is not None else ():
        if part.kind is griffe.DocstringSectionKind.parameters:
            parts.append("\n".join(f"- `{each.name}`: {_line(each.description)}" for each in part.value))
        elif part.kind is griffe.DocstringSectionKind.returns:
            parts.append("Returns: " + " ".join(_line(each.description) for each in part.value))
        elif part.kind is griffe.DocstringSectionKind.raises:
            parts.append("\n".join(f"- Raises `{each.annotation}`: {_line(each.description)}" for each in part.value))
    return "\n\n".join(part for part in parts if part) + "\n"


STARS: dict[griffe.ParameterKind | None, str] = {
    griffe.ParameterKind.var_positional: "*",
    griffe.ParameterKind.var_keyword: "**",
}


def _signature(function: griffe.Function) -> str:
    words: list[str] = []
    for each in function.parameters:
        if each.name in ("self", "cls"):
            continue
        if each.kind is griffe.ParameterKind.keyword_only and not any(word.startswith("*") for word in words):
            words.append("*")
        star = STARS.get(each.kind, "")
        annotation = f": {each.annotation}" if each.annotation is not None else ""
        default = f" = {each.default}" if each.default is not None and not star else ""
        words.append(f"{star}{each.name}{annotation}{default}")
    result = f" -> {function.returns}" if function.returns is not None else ""
    return f"({', '.join(words)}){result}"


def _code(value: object) -> str:
    return "" if value is None else f"`{value}`".replace("|", "\\|")


def _cell(one: griffe.Object) -> str:
    return _line(text(one)).replace("|", "\\|")


def _line(words: str) -> str:
    return " ".join(words.replace("``", "`").split())


if __name__ == "__main__":
    sys.stdout.write(page())
