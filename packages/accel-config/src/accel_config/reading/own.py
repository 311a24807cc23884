"""Our own file beside the library's default file, for the keys that only we know.

Hugging Face's library reads `default_config.yaml` too, and refuses the whole file for one key that it doesn't know.
So such keys stand in `accel.yaml` in the same folder, where the library doesn't look. Together they are one layer. A
file with any other name can hold both kinds.
"""

from __future__ import annotations

import os

from accel_config.reading.files import Problem, Read, load
from accel_config.reading.places import NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.index import Catalogue
    from accel_config.settings.origin import Value


def load_all(catalogue: Catalogue, path: str, own: str | None) -> Read:
    """Read the file at ``path`` and our own one, as far as they exist. Where both have a key, our own file counts.

    Raises:
        SettingError: a file can't be read at all.
    """
    nothing = Read({}, (), ())
    main = load(catalogue, path) if own is None or os.path.lexists(path) else nothing
    if own is None:
        return main
    ours = load(catalogue, own) if os.path.lexists(own) else nothing
    misplaced = [
        Problem(own, line(value), f"{one.key} belongs in {os.path.basename(path)}, which others read too")
        for one, value in ((catalogue.by_name[name], value) for name, value in ours.values.items())
        if not one.ours
    ]
    return Read(
        {**main.values, **ours.values},
        (*main.problems, *ours.problems, *misplaced),
        (*main.notes, *refused(catalogue, path, main), *ours.notes),
        (*main.keys, *ours.keys),
        (*main.conflicts, *ours.conflicts),
    )


def refused(catalogue: Catalogue, path: str, read: Read) -> list[Problem]:
    """Return a note on each key of the default file for which Hugging Face's library refuses it."""
    return [
        Problem(
            path,
            line(value),
            f"Hugging Face's library can't read this file because of {catalogue.by_name[name].key}; "
            f"`accelerate config update` moves it to {NAME}",
        )
        for name, value in read.values.items()
        if catalogue.by_name[name].ours
    ]


def line(value: Value) -> int:
    """Return the line of a value that comes from a file."""
    return int(value.origin.text.rpartition(":")[2])
