"""The folder of a run: made when it starts, private to its user. It stays as the record of the run."""

from __future__ import annotations

import errno
import os
import stat
import time

from accel_config.errors import AccelError
from accel_launch.machine import files
from accel_launch.ranks.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ATTEMPTS = 20  # names to try, before a number makes one unique
SOCKET, LOCK, PART = "socket", "lock", "lock.part"
RUN, STATE, EVENTS, REPORT, TEXT = "run.json", "state.json", "events.jsonl", "report.json", "report.txt"
OURS = frozenset(("socket", "lock", "run", "state", "events", "report", "output"))
"""What the names of our files begin with, up to a dot."""
MAKING = 1.0  # seconds for another launch to lock a folder that is there, before it counts as left
TURN = 5.0  # seconds to wait for others that take a name
BOOT = "/proc/sys/kernel/random/boot_id"
NOTE = 64  # bytes of the lock's file for notes
ENDED, FAILED, LOST = "ended", "failed", "lost"
"""Notes in the lock's file: how and when the run has ended; why its record can't be written, by errno; how many bytes
of output the record lacks, and why."""


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


def no_folder(error: OSError) -> str:
    """Return why a run has no folder."""
    where = f"{error.filename}: " if error.filename else ""
    return f"no folder for this run: {where}{error.strerror}"


class Folder:
    """The folder of one run, whose last part is the run's name."""

    def __init__(self, path: str) -> None:
        """Take a folder that exists."""
        self.path, self.name = path, os.path.basename(path)
        self.notes: dict[str, object] = {}
        """What this process has noted in the lock's file."""
        self.aside = ""
        """Where an older record of this name is now."""
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
        from accel_launch.running.onlookers.registry import names

        for attempt in range(ATTEMPTS + 1):
            name = names.chosen() if attempt < ATTEMPTS else f"{names.chosen()}-{os.getpid()}"
            try:
                os.mkdir(os.path.join(runs, name), mode=0o700)
            except FileExistsError:
                continue
            folder = cls(os.path.join(runs, name))
            try:
                folder._hold()
            except FileNotFoundError:  # who removes an older one of this name has taken it for that
                continue
            return folder
        raise FileExistsError(runs)

    @classmethod
    def _named(cls, path: str) -> Folder:
        folder = cls(path)
        with _Turn(os.path.dirname(path)):
            if os.path.lexists(path):
                folder._step_aside()
            try:
                os.mkdir(path, mode=0o700)
            except OSError:
                folder._step_back()
                raise
            folder._hold()
        return folder

    def _hold(self) -> None:
        """Lock a folder that was just made; leave nothing of it if that can't be done."""
        try:
            self.hold()
        except FileNotFoundError:  # it is another's now
            raise
        except OSError:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Leave nothing of a run that can't start, and give an older one of its name the name back."""
        self.remove()
        self._step_back()

    def _step_back(self) -> None:
        if self.aside and not os.path.lexists(self.path):
            os.rename(self.aside, self.path)

    def _step_aside(self) -> None:
        """Give the record of a run that has ended another name.

        Raises:
            AccelError: the run hasn't ended.
        """
        locked, until = os.path.join(self.path, LOCK), time.monotonic() + MAKING
        while not os.path.lexists(locked) and time.monotonic() < until:  # another launch may have just made it
            time.sleep(0.01)
        held, pid, _machine = lock(locked)
        if held:
            who = f" (pid {pid})" if pid else ""
            raise AccelError(f"a run {self.name!r} is running{who}; give another --name")
        number = 1
        while os.path.lexists(f"{self.path}.{number}"):
            number += 1
        self.aside = f"{self.path}.{number}"
        os.rename(self.path, self.aside)

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
        names = b" ".join(machine_names())
        if os.write(self.held, names.ljust(len(names) + NOTE)) < len(names) + NOTE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.rename(part, os.path.join(self.path, LOCK))

    def note(self, name: str, text: object) -> None:
        """Note something, or with None nothing more, in bytes that are there already: a full disk has no others."""
        if self.held == -1 or self.notes.get(name) == text:
            return
        self.notes[name] = text
        noted = "".join(f" {each}={told}" for each, told in self.notes.items() if told is not None)
        try:
            os.pwrite(self.held, noted.encode().ljust(NOTE)[:NOTE], len(b" ".join(machine_names())))
        except OSError:
            pass

    @property
    def pid(self) -> int:
        """The pid of the launcher, which holds the lock; 0 if it has ended, or can't be seen from here."""
        return lock(os.path.join(self.path, LOCK))[1]

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
    """Return whether a lock may be held, by which process, and the words of its file.

    These are the names of the machine on which that was started, and `notes`; one empty word if there are none.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False, 0, []
    try:
        held, pid = calls.locked_by(fd)
        return held, max(pid, 0) if held else 0, os.read(fd, 1 << 10).split() or [b""]
    except OSError:
        return True, 0, []
    finally:
        os.close(fd)


def notes(words: Iterable[bytes]) -> dict[str, str]:
    """Return what is noted in the words of a lock's file."""
    parts = (word.decode(errors="replace").partition("=") for word in words)
    return {name: text for name, equals, text in parts if equals}


def _unlink(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        pass


def machine_names() -> tuple[bytes, ...]:
    """Return the names of this machine, and of its kernel's run."""
    if not _names:
        _names.extend((os.fsencode(os.uname().nodename), *files.read(BOOT).encode().split()))
    return tuple(_names)


_names: list[bytes] = []
