"""A config file's text as nodes that keep their places: the shape of YAML or JSON, nothing but plain values."""

from __future__ import annotations

import os
import stat

from accel_config.errors import SettingError
from accel_config.reading.composer import Composer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from accel_config.reading.node import Node

PLAIN = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
"""How a file is opened by its descriptor, with what this system has of it: without waiting, and as it is."""
LARGEST = 1_000_000  # bytes; a config is a few hundred


def compose(content: bytes, path: str) -> Node | None:
    """Return the mapping that ``content`` holds; None if it is empty.

    ``path`` is for messages, and its ending distinguishes JSON from YAML.

    Raises:
        SettingError: it isn't UTF-8 text, YAML (or JSON) or a mapping, or it nests or repeats beyond reason.
    """
    text = decode(content, path)
    root = _compose_json(text, path) if path.endswith(".json") and text.strip() else _compose(text, _same, path)
    if root is not None and not root.mapping and root.value is not None:
        raise SettingError(f"{path}:{root.line}: a config file must be a mapping of settings")
    return root if root is not None and root.mapping else None


def read(path: str) -> bytes:
    """Return the content of a config file, at most one byte more than it may have.

    Raises:
        FileNotFoundError: it doesn't exist.
        SettingError: it can't be read, or isn't a file: a pipe would be waited for, and a device may never end.
    """
    try:
        handle = os.open(path, os.O_RDONLY | PLAIN)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise SettingError(f"{path}: the config file isn't a file")
            return file.read(LARGEST + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # a NUL in the path is the latter
        why = error.strerror if isinstance(error, OSError) else error
        raise SettingError(f"{path}: the config file can't be read: {why}") from None


def decode(content: bytes, path: str) -> str:
    """Return the text of a config file, without a byte order mark; line ends stay as they are.

    Raises:
        SettingError: it isn't UTF-8 text, or is too long for a config file.
    """
    if len(content) > LARGEST:
        raise SettingError(f"{path}:1: larger than {LARGEST} bytes, so it isn't a config file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingError(f"{path}:{line}: this isn't UTF-8 text") from None


def _compose_json(text: str, path: str) -> Node | None:
    """Compose JSON; the nodes keep their places in the text as it is."""
    import json

    from accel_config.reading.json_text import as_yaml

    try:
        json.loads(text, parse_int=str)  # as text: Python refuses to read a number of thousands of digits
    except json.JSONDecodeError as error:
        raise SettingError(f"{path}:{error.lineno}: this isn't valid JSON: {error.msg}") from None
    except RecursionError:
        raise SettingError(f"{path}:1: nested or repeated beyond what a config file needs") from None
    return _compose(*as_yaml(text), path)


def _same(index: int) -> int:
    return index


def _compose(text: str, place: Callable[[int], int], path: str) -> Node | None:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return Composer(yaml.parse(text, Loader=loader), path, place).root()  # pyright: ignore[reportUnknownMemberType]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise SettingError(f"{path}:{line}: this isn't valid YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SettingError(f"{path}:{line}: this isn't valid YAML: {error.reason}") from None
