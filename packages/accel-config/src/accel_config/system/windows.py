"""Windows: it opens no folders, has rights by folder, and its users have no numbers."""

from __future__ import annotations

import os
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator


def home_of(user: int | None = None) -> str:
    """Return the home of who runs this; that of a user's number is empty."""
    return os.path.expanduser("~") if user is None else ""


@contextmanager
def held(_folder: str) -> Generator[bool]:
    """Yield False: nobody else waits."""
    yield False


def sync(_folder: str) -> None:
    """Do nothing."""


def take_owner(_file: int, _old: os.stat_result) -> None:
    """Do nothing."""


def paged(_text: str, _command: str, _encoding: str) -> bool:
    """Return False: there is no pager."""
    return False
