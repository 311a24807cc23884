"""Tables of settings: each with its value and the origin of the value, for people or as JSON."""

from __future__ import annotations

from accel_config.showing import columns
from accel_config.showing.masking import shown
from accel_config.showing.printable import one_line
from accel_config.showing.wording import line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from accel_config.settings.declaration import Setting
    from accel_config.settings.origin import Value
    from accel_config.settings.resolved import Settings


def as_json(settings: Settings) -> str:
    """Return every setting that a file may hold, and any other that is set, as JSON by key."""
    return _json((one.key or one.name, one, value) for one, value in _in_files(settings))


def launch_json(settings: Settings, *, everything: bool) -> str:
    """Return the settings of a launch as JSON by name: those that are set, or all."""
    return _json((one.name, one, value) for one, value in settings if everything or value.given)


def _json(rows: Iterable[tuple[str, Setting, Value]]) -> str:
    import json

    found = {name: {"value": shown(one, value), "origin": value.origin.text} for name, one, value in rows}
    return json.dumps(found, indent=2) + "\n"


def file_table(settings: Settings, *, everything: bool, width: int | None) -> str:
    """Return the same for people, by key: what is set, and with ``everything`` also what is built in."""
    return _table(
        [(one.key or one.name, value, one) for one, value in _in_files(settings)], everything, width, "--all"
    )


def table(settings: Settings, *, everything: bool, width: int | None) -> str:
    """Return the settings of a launch by name: those that are set, and with ``everything`` also the built-in ones."""
    return _table([(one.name, value, one) for one, value in settings], everything, width, "--explain all")


def _in_files(settings: Settings) -> list[tuple[Setting, Value]]:
    pairs = [(one, value) for one, value in settings if one.key or value.given]
    return sorted(pairs, key=lambda pair: not pair[1].given)


def _table(found: list[tuple[str, Value, Setting]], everything: bool, width: int | None, flag: str) -> str:
    given = [row for row in found if row[1].given]
    built_in = [row for row in found if not row[1].given]
    rows = [*given, *built_in] if everything else given
    cells = [(name, line(shown(one, value)) or "-", one_line(value.origin.text)) for name, value, one in rows]
    rest = f"{len(built_in)} more are built in: {flag} shows them"
    lines = [] if everything or not built_in else columns.wrap(rest, width or len(rest))
    return columns.table(cells, width) + "".join(f"{text}\n" for text in lines)
