"""Files replaced as a whole: a reader finds the old content or the new, at any moment."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress

from accel_config.errors import FAILED, AccelError
from accel_config.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import IO


def save(path: str, content: bytes) -> None:
    """Replace the content of a file, through symbolic links; keep its mode and owner, and create missing folders.

    Raises:
        AccelError: it can't be written; the old content stays.
    """
    with locked(path):
        replace(path, content)


@contextmanager
def locked(path: str) -> Generator[None]:
    """Let other writers of files in the same folder wait, if the folder can be locked.

    Raises:
        AccelError: the folder can't be created.
    """
    folder = os.path.dirname(os.path.realpath(path))
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise _failure(path, error) from None
    with ExitStack() as stack:
        try:
            # Where a folder can't be locked two writers may each win in turn, but never mix.
            locked = stack.enter_context(calls.held(folder))
        except OSError as error:
            raise _failure(path, error) from None
        if locked:
            with suppress(OSError):
                _sweep(os.path.realpath(path))
        yield


def replace(path: str, content: bytes) -> None:
    """Replace the content of a file like `save`, for a caller that holds the lock.

    Raises:
        AccelError: it can't be written; the old content stays.
    """
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: str) -> Generator[IO[bytes]]:
    """Yield a new file that replaces ``path`` after the body; if the body raises, the new file is removed.

    The new file has the mode and owner of ``path`` if that exists, and is on the disk before it replaces it.

    Raises:
        AccelError: it can't be written; the old content stays.
    """
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        what = "is a folder" if os.path.isdir(target) else "isn't a file"
        raise AccelError(f"{path} {what}, so it can't be replaced", status=FAILED)
    new = f"{_leftovers(target)}{int.from_bytes(os.urandom(6))}.tmp"
    try:
        mode = 0o600 if os.path.exists(target) else 0o666  # nobody may open it before it has the old one's mode
        with open(
            new, "x+b", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), mode)
        ) as file:
            _take_owner(file, target)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, target)
        calls.sync(os.path.dirname(target))
    except OSError as error:
        raise _failure(path, error) from None
    finally:
        with suppress(OSError):
            os.unlink(new)


def _take_owner(file: IO[bytes], target: str) -> None:
    """Give a new file the mode and owner of ``target`` if that exists."""
    with suppress(FileNotFoundError):
        calls.take_owner(file.fileno(), os.stat(target))


def _leftovers(target: str) -> str:
    """Return the beginning of the names of files that replace ``target``."""
    return os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.")


def _sweep(target: str) -> None:
    """Remove the files of killed writers; under the lock no writer is alive."""
    start = os.path.basename(_leftovers(target))
    for name in os.listdir(os.path.dirname(target)):
        if name.startswith(start) and name.endswith(".tmp") and name[len(start) : -len(".tmp")].isdecimal():
            with suppress(OSError):
                os.unlink(os.path.join(os.path.dirname(target), name))


def _failure(path: str, error: OSError) -> AccelError:
    return AccelError(f"{path} can't be written: {error.strerror}", status=FAILED)
