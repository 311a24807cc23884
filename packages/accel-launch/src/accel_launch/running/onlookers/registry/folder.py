"""The folder of a run: made when it starts, private to its user."""

from __future__ import annotations

import os

from accel_launch.machine import files
from accel_launch.running.onlookers.registry import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ATTEMPTS = 20  # names to try, before a number makes one unique
SOCKET, LOCK = "socket", "lock"
FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux


def home(environ: Mapping[str, str]) -> str:
    """Return the folder of all runs of this user, ``$XDG_STATE_HOME/accel/runs``; it needn't exist."""
    return files.state(environ, "runs")


class Folder:
    """The folder of one run, whose last part is the run's name."""

    def __init__(self, path: str) -> None:
        """Take a folder that exists."""
        self.path, self.name = path, os.path.basename(path)
        self.held = -1
        """The descriptor of the file that this process holds locked as long as it lives, if the run is its own."""

    @classmethod
    def make(cls, environ: Mapping[str, str]) -> Folder:
        """Make a folder with a new name for this process's run.

        Raises:
            OSError: it can't be made.
        """
        runs = home(environ)
        os.makedirs(runs, mode=0o700, exist_ok=True)
        for attempt in range(ATTEMPTS + 1):
            name = names.chosen() if attempt < ATTEMPTS else f"{names.chosen()}-{os.getpid()}"
            try:
                os.mkdir(os.path.join(runs, name), mode=0o700)
            except FileExistsError:
                continue
            folder = cls(os.path.join(runs, name))
            folder.hold()
            return folder
        raise FileExistsError(runs)

    def hold(self) -> None:
        """Lock a file of the folder. The lock isn't a fork's, and ends with this process however that ends.

        Raises:
            OSError: the disk is full, or the file system has no locks.
        """
        import fcntl

        path = os.path.join(self.path, LOCK)
        self.held = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.lockf(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @property
    def pid(self) -> int:
        """The pid of the launcher, which holds the lock; 0 if it has ended."""
        import fcntl
        import struct

        try:
            fd = os.open(os.path.join(self.path, LOCK), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            found = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except OSError:
            return 0
        finally:
            os.close(fd)
        kind, _whence, _start, _length, pid = struct.unpack(FLOCK, found)
        return 0 if kind == fcntl.F_UNLCK else pid

    def address(self, folder: int) -> str:
        """Return the socket's address below an open descriptor: a path may be longer than an address can be."""
        return f"/proc/self/fd/{folder}/{SOCKET}"

    def remove(self) -> None:
        """Remove it with what we put there."""
        for name in (SOCKET, LOCK):
            try:
                os.unlink(os.path.join(self.path, name))
            except OSError:
                continue
        try:
            os.rmdir(self.path)
        except OSError:
            pass
