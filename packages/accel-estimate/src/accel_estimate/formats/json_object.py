"""Small JSON files: a config.json, the index of a checkpoint."""

from __future__ import annotations

import json

from accel_estimate.errors import CorruptFileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_estimate.sources.source import Source

_MOST_PARTS = 100_000


def read(source: Source, limit: int) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        CorruptFileError: the file is longer than `limit` bytes, has more parts than such files have, or isn't a JSON
            object.

    """
    if source.size > limit:
        raise CorruptFileError(f"{source.name}: {source.size:,} bytes, more than the {limit:,} that are accepted")
    content = source.read(0, source.size)
    if content.count(b"{") + content.count(b"[") > _MOST_PARTS:  # an empty list has 2 bytes, and takes 64
        raise CorruptFileError(f"{source.name}: more than the {_MOST_PARTS:,} lists and objects that are accepted")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise CorruptFileError(f"{source.name}: isn't valid JSON") from None
    if not isinstance(value, dict):
        raise CorruptFileError(f"{source.name}: isn't a JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]
