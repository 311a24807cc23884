"""The page of all settings, made from the catalogue: ``python -m accel_config.reference > docs/reference.md``."""

from __future__ import annotations

import sys

from .catalogue import CATALOGUE
from .listing import word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .section import Section, Setting
    from .settings import Catalogue

INTRODUCTION = """\
# Settings

<!-- Made by `python -m accel_config.reference`; change the declarations in accel_config/catalogue instead. -->

Every setting of `accelerate launch`: its flag (underscores may be hyphens), its key in the config file, the variable
that the script finds it in, what it is when nobody says, and what it means. Each can also be set by the variable
`ACCELERATE_LAUNCH_<NAME>`, NAME being the flag in capitals. A flag wins over that variable, the variable over
what a scheduler says of a process's place, that over the config file, the file over the default.
"""
HEADING = "| Flag | Key | Variable | Default | Meaning |\n| --- | --- | --- | --- | --- |\n"


def page(catalogue: Catalogue) -> str:
    """Return the page as Markdown."""
    return INTRODUCTION + "".join(_section(section) for section in catalogue.sections)


def _section(section: type[Section]) -> str:
    rows = "".join(_row(one) for one in section.settings)
    return f"\n## {section.title}\n\n{section.__doc__}\n\n{HEADING}{rows}"


def _row(one: Setting) -> str:
    flags = (
        [f"--{one.name}", *([one.short] if one.short else []), *([one.off] if one.off else [])] if one.flag else []
    )
    cells = [_code(flags), _code([one.key] if one.key else []), _code(one.env), _default(one), _meaning(one)]
    return f"| {' | '.join(cells)} |\n"


def _code(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _default(one: Setting) -> str:
    text = word(one.default)
    return f"`{text}`" if text else ""


def _meaning(one: Setting) -> str:
    said = f"No effect: {one.deprecated}." if one.deprecated else one.help
    bounded = one.minimum is not None or one.maximum is not None
    wanted = f" {one.wanted.capitalize()}." if bounded else ""
    choices = f" One of {_code([word(choice) for choice in one.choices])}." if one.choices else ""
    return (said + choices + wanted).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page(CATALOGUE))
