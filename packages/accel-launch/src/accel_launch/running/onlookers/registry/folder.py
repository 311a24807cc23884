"""The folder of a run: made when it starts, private to its user. It stays as the record of the run."""

from __future__ import annotations

import errno
import os
import stat
import time

from accel_config.errors import AccelError
from accel_launch.machine import files
from accel_launch.running.onlookers.registry import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ATTEMPTS = 20  # names to try, before a number makes one unique
SOCKET, LOCK, PART = "socket", "lock", "lock.part"
RUN, STATE, EVENTS, REPORT, TEXT = "run.json", "state.json", "events.jsonl", "report.json", "report.txt"
OURS = frozenset(("socket", "lock", "run", "state", "events", "report", "output"))
"""What the names of our files begin with, up to a dot."""
YOUNG = 60.0  # seconds in which a launcher has locked its folder after it has made it
TURN = 5.0  # seconds to wait for others that take a name
BOOT = "/proc/sys/kernel/random/boot_id"
FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux


def home(environ: Mapping[str, str]) -> str:
    """Return the folder of all runs of this user, ``$XDG_STATE_HOME/accel/runs``; it needn't exist."""
    return files.state(environ, "runs")


def check(runs: str) -> None:
    """Check that the folder of all runs is this user's alone.

    Raises:
        PermissionError: it isn't.
        OSError: there is none, or it can't be looked at.
    """
    facts = os.stat(runs)
    if facts.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"it belongs to another user (uid {facts.st_uid})", runs)
    if not private(facts):
        raise PermissionError(errno.EPERM, "others can write to it; `chmod go-w` it", runs)


def private(facts: os.stat_result) -> bool:
    """Return whether a folder is this user's, and nobody else can write to it."""
    return facts.st_uid == os.geteuid() and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


class Folder:
    """The folder of one run, whose last part is the run's name."""

    def __init__(self, path: str) -> None:
        """Take a folder that exists."""
        self.path, self.name = path, os.path.basename(path)
        self.held = -1
        """The descriptor of the file that this process holds locked as long as it lives, if the run is its own."""

    @classmethod
    def make(cls, environ: Mapping[str, str], name: str = "") -> Folder:
        """Make a folder for this process's run, under a name of its own or the one that is given.

        Raises:
            AccelError: a run of this name is running.
            OSError: it can't be made.
        """
        runs = home(environ)
        os.makedirs(runs, mode=0o700, exist_ok=True)
        check(runs)
        if name:
            return cls._named(os.path.join(runs, name))
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

    @classmethod
    def _named(cls, path: str) -> Folder:
        folder = cls(path)
        with _Turn(os.path.dirname(path)):
            try:
                os.mkdir(path, mode=0o700)
            except FileExistsError:
                folder._step_aside()
                os.mkdir(path, mode=0o700)
            folder.hold()
        return folder

    def _step_aside(self) -> None:
        """Give the record of a run that has ended another name.

        Raises:
            AccelError: the run hasn't ended.
        """
        held, pid, _machine = lock(os.path.join(self.path, LOCK))
        young = not os.path.lexists(os.path.join(self.path, LOCK)) and not _old(os.stat(self.path).st_mtime)
        if held or young:
            who = f" (pid {pid})" if pid else ""
            raise AccelError(f"a run {self.name!r} is running{who}; give another --name")
        number = 1
        while os.path.lexists(f"{self.path}.{number}"):
            number += 1
        os.rename(self.path, f"{self.path}.{number}")

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
        os.write(self.held, b" ".join(machine_names()))
        os.rename(part, os.path.join(self.path, LOCK))

    @property
    def pid(self) -> int:
        """The pid of the launcher, which holds the lock; 0 if it has ended, or can't be seen from here."""
        return lock(os.path.join(self.path, LOCK))[1]

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
            for name in os.listdir(folder):
                if name.partition(".")[0] in OURS:
                    _unlink(name, folder)
        finally:
            os.close(folder)
        try:
            os.rmdir(self.path)
        except OSError:
            pass


def claim(environ: Mapping[str, str], name: str) -> Folder | None:
    """Return the folder of a run whose name the user has given; None if it can't be made, which is noted later.

    Raises:
        AccelError: a run of this name is running, or another launch keeps others from taking any.
    """
    try:
        return Folder.make(environ, name)
    except OSError:
        return None


def clean(runs: str, age: float, count: int, own: str = "") -> None:
    """Remove old records, and what killed launchers have left without any record.

    Not this process's ``own`` one: looking frees its lock. Others may do the same, or make a folder of the same name
    meanwhile.
    """
    found: list[tuple[float, str]] = []
    try:
        for entry in os.scandir(runs):
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode) and private(facts):
                found.append((facts.st_mtime, entry.path))
    except OSError:
        return
    found.sort(reverse=True)
    now = time.time()
    for place, (changed, path) in enumerate(found):
        if os.path.basename(path) == own:
            continue
        if place >= count or changed < now - age:
            Folder(path).remove(when=_over)
        elif not os.path.lexists(os.path.join(path, STATE)):
            Folder(path).remove(when=_left)


def _over(folder: int) -> bool:
    """Return whether a folder is of a run that has ended, here or elsewhere."""
    held, _pid, machine = lock(LOCK, folder)
    return not held and ({*machine} & {*machine_names()} != set() or _exists(REPORT, folder))


def _left(folder: int) -> bool:
    """Return whether a launcher of this machine that was killed has left a folder without a record."""
    held, _pid, machine = lock(LOCK, folder)
    if held or _exists(STATE, folder):
        return False
    if machine:  # the name stays when the machine starts again; containers have several
        return bool({*machine} & {*machine_names()})
    # One that was killed before it could lock it.
    return _old(os.fstat(folder).st_mtime) and not {*os.listdir(folder)} - {PART}


def _old(changed: float) -> bool:
    return abs(time.time() - changed) > YOUNG  # a clock may have been set


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True


class _Turn:
    """Lets one launcher at a time take a name. One that was stopped meanwhile holds up the others."""

    def __init__(self, runs: str) -> None:
        self.fd = os.open(runs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> None:
        import fcntl

        until = time.monotonic() + TURN
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise AccelError("another launch takes a --name right now, and doesn't come to an end") from None
                time.sleep(0.01)
            except OSError:  # a file system without such locks
                return
            else:
                return

    def __exit__(self, *_error: object) -> None:
        os.close(self.fd)


def lock(path: str, folder: int | None = None) -> tuple[bool, int, list[bytes]]:
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


def machine_names() -> tuple[bytes, ...]:
    """Return the names of this machine, and of its kernel's run."""
    if not _names:
        _names.append(os.fsencode(os.uname().nodename))
        try:
            with open(BOOT, "rb") as file:
                _names.append(file.read().strip())
        except OSError:
            pass
    return tuple(_names)


_names: list[bytes] = []
