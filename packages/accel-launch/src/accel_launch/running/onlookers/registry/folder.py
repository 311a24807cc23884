"""The folder of a run: made when it starts, private to its user."""

from __future__ import annotations

import os
import time

from accel_launch.machine import files
from accel_launch.running.onlookers.registry import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ATTEMPTS = 20  # names to try, before a number makes one unique
SOCKET, LOCK, PART = "socket", "lock", "lock.part"
YOUNG = 60.0  # seconds in which a launcher has locked its folder after it has made it
BOOT = "/proc/sys/kernel/random/boot_id"
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
        clean(runs)
        for attempt in range(ATTEMPTS + 1):
            name = names.chosen() if attempt < ATTEMPTS else f"{names.chosen()}-{os.getpid()}"
            try:
                os.mkdir(os.path.join(runs, name), mode=0o700)
            except FileExistsError:
                continue
            folder = cls(os.path.join(runs, name))
            try:
                folder.hold()
            except FileNotFoundError:  # who removes an older one of this name has taken it for that
                continue
            return folder
        raise FileExistsError(runs)

    def hold(self) -> None:
        """Lock a file of the folder. The lock isn't a fork's, and ends with this process however that ends.

        The file has its name once it is locked, and tells whose locks on it can be seen.

        Raises:
            OSError: the disk is full, or the file system has no locks.
        """
        import fcntl

        part = os.path.join(self.path, PART)
        self.held = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.lockf(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(self.held, b" ".join(_machine()))
        os.rename(part, os.path.join(self.path, LOCK))

    @property
    def pid(self) -> int:
        """The pid of the launcher, which holds the lock; 0 if it has ended, or can't be seen from here."""
        return _lock(os.path.join(self.path, LOCK))[1]

    def address(self, folder: int) -> str:
        """Return the socket's address below an open descriptor: a path may be longer than an address can be."""
        return f"/proc/self/fd/{folder}/{SOCKET}"

    def remove(self, when: Callable[[int], bool] = lambda _folder: True) -> None:
        """Remove it with what we put there, if the folder that is open under a descriptor is the one to remove."""
        try:
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if not when(folder):
                return
            for name in (SOCKET, LOCK, PART):
                _unlink(name, folder)
        finally:
            os.close(folder)
        try:
            os.rmdir(self.path)
        except OSError:
            pass


def clean(runs: str) -> None:
    """Remove the folders of runs whose launcher was killed; not in a process that has one: looking frees its lock.

    Others may do the same, or make a folder of the same name meanwhile.
    """
    try:
        found = [entry.path for entry in os.scandir(runs) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for path in found:
        Folder(path).remove(when=_left)


def _left(folder: int) -> bool:
    """Return whether a launcher of this machine that was killed has left a folder."""
    held, _pid, machine = _lock(LOCK, folder)
    if held:
        return False
    if machine:  # the name stays when the machine starts again; containers have several
        return bool({*machine} & {*_machine()})
    # One that was killed before it could lock it.
    return time.time() - os.fstat(folder).st_mtime > YOUNG and not {*os.listdir(folder)} - {PART}


def _lock(path: str, folder: int | None = None) -> tuple[bool, int, list[bytes]]:
    """Return whether a lock may be held, by which process, and the machine on which that was started."""
    import fcntl
    import struct

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False, 0, []
    try:
        found = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        kind, _whence, _start, _length, pid = struct.unpack(FLOCK, found)
        return (False, 0, os.read(fd, 1 << 10).split()) if kind == fcntl.F_UNLCK else (True, max(pid, 0), [])
    except OSError:
        return True, 0, []
    finally:
        os.close(fd)


def _unlink(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        pass


def _machine() -> tuple[bytes, ...]:
    """Return the names of this machine, and of its kernel's run."""
    try:
        with open(BOOT, "rb") as file:
            return os.fsencode(os.uname().nodename), file.read().strip()
    except OSError:
        return (os.fsencode(os.uname().nodename),)
