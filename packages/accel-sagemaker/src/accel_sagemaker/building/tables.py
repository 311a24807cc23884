"""The two tables of a config: the job's input channels and its metrics, tab-separated under a heading."""

from __future__ import annotations

import re

from accel_config.errors import SettingError
from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLUMNS = 2
_CHANNEL = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Row(Record):
    """One row, with its file and line for messages."""

    where: str
    name: str
    value: str


def channels(path: Path) -> list[dict[str, object]]:
    """Return the input channels of the table at ``path``, as the service needs them.

    Raises:
        SettingError: a row isn't a channel's name and an S3 address; the message names file and line.
    """
    found: list[dict[str, object]] = []
    for row in _rows(path, "a channel name and a data location", unlike_heading="s3://"):
        if not _CHANNEL.fullmatch(row.name):
            raise SettingError(
                f"{row.where}: {row.name!r} isn't a valid channel name: up to 64 letters, digits and . _ -"
            )
        if not row.value.startswith("s3://"):
            raise SettingError(
                f"{row.where}: the data of {row.name} must be at an address s3://..., not {row.value!r}"
            )
        source = {"S3DataType": "S3Prefix", "S3Uri": row.value, "S3DataDistributionType": "FullyReplicated"}
        found.append({"ChannelName": row.name, "DataSource": {"S3DataSource": source}})
    return found


def metrics(path: Path) -> list[dict[str, str]]:
    """Return the metrics of the table at ``path``, as the service needs them.

    Raises:
        SettingError: a row isn't a metric's name and a regular expression; the message names file and line.
    """
    found: list[dict[str, str]] = []
    for row in _rows(path, "a metric name and a regular expression"):
        try:
            re.compile(row.value)
        except re.error as error:
            raise SettingError(f"{row.where}: {row.value!r} isn't a valid regular expression: {error}") from None
        found.append({"Name": row.name, "Regex": row.value})
    return found


def _rows(path: Path, columns: str, unlike_heading: str = "") -> Iterator[Row]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise SettingError(f"{path}: the table can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingError(f"{path}: the file isn't UTF-8 text") from None
    if lines and unlike_heading and unlike_heading in lines[0]:
        raise SettingError(
            f"{path}:1: the first line must be a heading, which isn't read; this is a row: {lines[0]!r}"
        )
    seen: dict[str, str] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != COLUMNS or not all(cells):
            raise SettingError(f"{where}: a row must be {columns}, with one tab between them, not {line!r}")
        if cells[0] in seen:
            raise SettingError(f"{where}: {cells[0]} appears twice, first in {seen[cells[0]]}")
        seen[cells[0]] = where
        yield Row(where, cells[0], cells[1])
