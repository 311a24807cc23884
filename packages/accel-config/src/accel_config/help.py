"""`--help`, from the catalogue."""

from __future__ import annotations

from .span import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .section import Setting
    from .settings import Catalogue

WIDTH = 100
INDENT = 8
_INTRODUCTION = """\
Every flag may be written with hyphens in place of underscores, and every setting may come from the
config file, or from the variable ACCELERATE_LAUNCH_<NAME>. A flag wins over the variable, the variable
over what a scheduler says (Slurm, mpirun, ...), and that over the file.
"""


def text(catalogue: Catalogue, usage: str) -> str:
    """Return the help of a command that takes every flag of ``catalogue``, by section."""
    parts = [
        f"usage: {usage}\n",
        "Start a training script on the devices of this machine, on several machines, a TPU or SageMaker.\n",
        _INTRODUCTION,
    ]
    for section in catalogue.sections:
        flags = [one for one in section.settings if one.flags]
        if flags:
            parts.append(f"{section.title}:")
            parts += [_entry(one) for one in flags]
            if section.title == "Launcher":
                parts.append("  -h, --help\n" + " " * INDENT + "Print this and exit.")
            parts.append("")
    return "\n".join(parts)


def _entry(one: Setting) -> str:
    short = f"{one.short}, " if one.short else ""
    value = "" if one.switch else f" {_metavar(one)}"
    off = f", {one.off}" if one.off else ""
    default = "" if one.default in (None, (), "", False) else f" (default: {_shown(one.default)})"
    deprecated = f" Deprecated: {one.deprecated}." if one.deprecated else ""
    return f"  {short}--{one.name}{value}{off}\n{_wrap(one.help + default + deprecated)}"


def _metavar(one: Setting) -> str:
    if one.choices and len(one.choices) <= 7:  # noqa: PLR2004
        return "{" + ",".join(map(_shown, one.choices)) + "}"
    if one.kind is bool:
        return "BOOL,BOOL,BOOL" if one.many else "[true|false]"
    return {int: "N", Span: "N", float: "X"}.get(one.kind, "TEXT")


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(_shown(item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wrap(words: str) -> str:
    """Fill lines; `textwrap` would cost the start-up its regular expressions."""
    lines: list[str] = []
    line = ""
    for word in words.split():
        if line and len(line) + 1 + len(word) > WIDTH - INDENT:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return "\n".join(" " * INDENT + one for one in [*lines, line])
