"""Keys that only we know, written into our own file beside the default one: see `accel_config.reading.own`."""

from __future__ import annotations

import os

from accel_config.catalogue import CATALOGUE
from accel_config.reading.files import parse
from accel_config.reading.places import own_path
from accel_config.writing import spelling, storage
from accel_config.writing.edit import assign, content_of, without

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def divided(content: Mapping[str, Any], path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a new file at ``path`` holds, and what goes into our own file: nothing, if it isn't the default."""
    if own_path(path, os.environ) is None:
        return dict(content), {}
    ours = {str(one.key) for one in CATALOGUE.settings if one.ours and one.key}
    theirs = {key: value for key, value in content.items() if key not in ours}
    return theirs, {key: value for key, value in content.items() if key in ours}


def put(path: str, ours: Mapping[str, Any]) -> str | None:
    """Put values into our own file beside ``path``; return its path, or None if there are none to put.

    Raises:
        AccelError: the file can't be read or written.
    """
    own = own_path(path, os.environ)
    if own is None or not ours:
        return None
    content = content_of(own)
    for key, value in ours.items():
        content = assign(content, own, CATALOGUE.by_key[key], value)
    storage.replace(own, content)
    return own


def moved(content: bytes, path: str) -> tuple[bytes, dict[str, Any], list[str]]:
    """Return the default file's content without the keys that only we know, these with their values, and a line each.

    Raises:
        AccelError: a key can't be taken out without changing another.
    """
    own = own_path(path, os.environ)
    if own is None:
        return content, {}, []
    read = parse(CATALOGUE, content, path)
    ours: dict[str, Any] = {}
    lines: list[str] = []
    for name, value in read.values.items():
        one = CATALOGUE.by_name[name]
        if one.ours:
            content = without(content, path, one)
            ours[str(one.key)] = spelling.plain(one, value.value)
            lines.append(f"{one.key} is moved to {own}: Hugging Face's library can't read a file that has it")
    return content, ours, lines
