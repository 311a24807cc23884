"""The reference page, made from the catalogue.

python -m accel_config.showing.reference > docs/reference.md
"""

from __future__ import annotations

import sys

from accel_config.catalogue import CATALOGUE
from accel_config.showing.wording import word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.declaration import Section, Setting
    from accel_config.settings.index import Catalogue

INTRODUCTION = """\
# Settings

<!-- Made by `python -m accel_config.showing.reference`: to change it, change the declarations in the catalogue. -->

This page lists every setting of `accelerate launch`: its flag, its key in the config file, the variable that the
script gets, its default and its meaning. Hyphens and underscores in flags are the same.

The variable `ACCELERATE_LAUNCH_<NAME>`, with the flag in capitals, sets it too. A flag wins over that variable, the
variable over the scheduler, the scheduler over the config file, the file over the default.
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
    return one.default_text or (f"`{text}`" if text else "")


def _meaning(one: Setting) -> str:
    meaning = f"No effect: {one.deprecated}." if one.deprecated else one.help
    bounded = one.minimum is not None or one.maximum is not None
    wanted = f" {one.wanted.capitalize()}." if bounded else ""
    choices = f" One of {_code(one.known)}." if one.known else ""
    return (meaning + choices + wanted).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page(CATALOGUE))
