"""Files replaced as a whole: whoever looks, at any moment, finds the old content or the new."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress

from .errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

FAILED = 1


def save(path: str, content: bytes) -> None:
    """Make ``content`` the file's, through symbolic links and with the mode and owner it had; folders are made.

    Raises:
        AccelError: it can't be written; what was there is untouched.
    """
    with locked(path):
        replace(path, content)


@contextmanager
def locked(path: str) -> Generator[None]:
    """Keep other writers of files in the same folder waiting; where the folder can't be locked, nobody waits.

    Raises:
        AccelError: the folder can't be made.
    """
    import fcntl

    folder = os.path.dirname(os.path.realpath(path))
    try:
        os.makedirs(folder, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _failure(path, error) from None
    try:
        # Some network file systems lock no folders. Then two writers may each win in turn, but never mix.
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
            _sweep(os.path.realpath(path))
        yield
    finally:
        os.close(held)


def replace(path: str, content: bytes) -> None:
    """Do what `save` does, for somebody who holds the lock.

    Raises:
        AccelError: it can't be written; what was there is untouched.
    """
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        raise AccelError(f"{path} is no file, so no config can be written there", status=FAILED)
    new = f"{_leftovers(target)}{int.from_bytes(os.urandom(6))}.tmp"
    try:
        _write(new, content, target)
        os.replace(new, target)
        _sync_folder(os.path.dirname(target))
    except OSError as error:
        raise _failure(path, error) from None
    finally:
        with suppress(OSError):
            os.unlink(new)


def _write(new: str, content: bytes, target: str) -> None:
    """Write ``new`` to the disk itself, with the mode and owner of ``target`` where that exists."""
    with open(new, "xb") as file:
        with suppress(FileNotFoundError):
            old = os.stat(target)
            with suppress(PermissionError):  # only root gives files away; the group alone may still be ours to give
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
            os.fchmod(file.fileno(), old.st_mode & 0o7777)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: str) -> None:
    """Put the rename on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every file system has folders to sync
            os.fsync(handle)
    finally:
        os.close(handle)


def _leftovers(target: str) -> str:
    """Return what the names of files that are to replace ``target`` begin with."""
    return os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.")


def _sweep(target: str) -> None:
    """Remove what a writer that was killed left behind; holding the lock, we know that none is alive."""
    start = os.path.basename(_leftovers(target))
    for name in os.listdir(os.path.dirname(target)):
        if name.startswith(start) and name.endswith(".tmp") and name[len(start) : -len(".tmp")].isdecimal():
            with suppress(OSError):
                os.unlink(os.path.join(os.path.dirname(target), name))


def _failure(path: str, error: OSError) -> AccelError:
    return AccelError(f"{path} can't be written: {error.strerror}", status=FAILED)
