"""POSIX: users have numbers, folders are opened, and a shell starts programs."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress

if sys.platform == "win32":
    raise ImportError("this is the part of POSIX")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

NOT_RUN = (126, 127)
"""How a shell ends that can't run a command."""


def home_of(user: int | None = None) -> str:
    """Return the home that the system knows of a user's number, by default of who runs this; empty if none."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid() if user is None else user).pw_dir
    except KeyError:  # a container's user may have no entry
        return ""


@contextmanager
def held(folder: str) -> Generator[bool]:
    """Wait until nobody else holds a folder, and hold it; yield whether that could be done.

    Raises:
        OSError: it can't be opened.
    """
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        locked = False
        with suppress(OSError):  # some network file systems lock no folders
            fcntl.flock(handle, fcntl.LOCK_EX)
            locked = True
        yield locked
    finally:
        os.close(handle)


def sync(folder: str) -> None:
    """Write the rename of a file in a folder through to the disk.

    Raises:
        OSError: it can't be opened.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every file system has folders to sync
            os.fsync(handle)
    finally:
        os.close(handle)


def take_owner(file: int, old: os.stat_result) -> None:
    """Give a file, by its descriptor, the mode and owner of an ``old`` one, as far as we may.

    Raises:
        OSError: the mode can't be changed.
    """
    with suppress(PermissionError):  # only root can change the owner; the group may still be allowed
        os.fchown(file, old.st_uid, old.st_gid)
    os.fchmod(file, old.st_mode & 0o7777)


def paged(text: str, command: str, encoding: str) -> bool:
    """Give ``text`` to the shell command and wait for its end; return whether there was such a command."""
    reader, writer = os.pipe()
    pager = os.posix_spawn(
        "/bin/sh", ["sh", "-c", command], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)]
    )
    os.close(reader)
    try:
        with os.fdopen(writer, "w", encoding=encoding, errors="surrogateescape") as pipe:
            pipe.write(text)
    except (BrokenPipeError, KeyboardInterrupt):  # the user has left the pager before the end
        pass
    while True:
        try:
            _pid, status = os.waitpid(pager, 0)
        except KeyboardInterrupt:  # which is the pager's to act on
            continue
        return os.waitstatus_to_exitcode(status) not in NOT_RUN
