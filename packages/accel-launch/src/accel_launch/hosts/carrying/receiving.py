"""The far side of ``--sync``: a folder that gets files from the launcher that started this one.

What is carried is a list of files with the hashes of their contents. Only contents that no folder there has travel.
With ``--sync_launcher`` the far side starts with the text of this file, so it needs the standard library alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from accel_launch.hosts.carrying.wire import Listener, Speaker

CACHE = "~/.cache/accel"
PIECE = 1 << 16  # bytes
LIST = b".accel-sync"  # a file of the folder: what was carried into it; who uses the folder holds a lock on it
NEW = b".accel-new-"  # how a file begins that isn't whole yet
KEPT = 5  # folders named by content
LINK, EXECUTABLE = "l", "x"


def receive(listener: Listener, speaker: Speaker, tree: dict[str, Any]) -> str:
    """Make a folder hold what ``tree`` lists, and return its path; leave with a refusal if that can't be done."""
    try:
        folder = Folder(tree)
        wanted = folder.prepare()
        speaker.say(f"{tree['name']} wanted", files=wanted)
        listener.line(1)  # signs of life end here: contents are bytes of any kind
        for number in wanted:
            folder.take(number, listener)
        folder.finish()
        if not folder.fixed:
            clean(folder.path)
    except (OSError, ValueError) as error:
        why = f"{error.strerror}: {os.fsdecode(error.filename or b'')}" if isinstance(error, OSError) else str(error)
        speaker.refuse(f"what {tree['flag']} carries can't be put into {tree['folder']} there: {why}")
    speaker.say(f"{tree['name']} here", folder=os.fsdecode(folder.path))
    return os.fsdecode(folder.path)


class Folder:
    """A folder that gets what is carried. Names are bytes, as the system has them."""

    def __init__(self, tree: dict[str, Any]) -> None:
        """Take the folder and its lock, which ends with this process.

        Raises:
            OSError: it can't be made.
            ValueError: somebody else's files are in it.
        """
        self.files = [(_bytes(name), kind, what, size) for name, kind, what, size in tree["files"]]
        self.path = os.path.expanduser(_bytes(tree["folder"]))
        self.fixed = bool(tree["fixed"])
        if not self.fixed:
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
        os.makedirs(self.path, exist_ok=True)
        self.cwd = _bytes(tree["cwd"])
        self.list = os.path.join(self.path, LIST)
        if os.listdir(self.path) and not os.path.lexists(self.list):  # in this order: another machine may begin
            raise ValueError("it has files that --sync hasn't put there; name a folder that is empty or new")
        self.lock = _locked(self.list)
        self.former = {name: (kind, what) for name, kind, what, _ in listed(self.path)}
        self.lacking: dict[str, list[int]] = {}
        """The places of each content that is yet to come."""
        self.whole: set[bytes] = {self.path}
        """What is known to be a folder, and no link to one."""

    def prepare(self) -> list[int]:
        """Do what needs no content from elsewhere; return the files whose content does.

        Raises:
            OSError: the system refuses something.
        """
        both = {**self.former, **{name: (kind, what) for name, kind, what, _ in self.files}}
        _write(self.list, [[name, kind, what, 0] for name, (kind, what) in both.items()])
        new = {name for name, *_ in self.files}
        remove(self.path, {name: known for name, known in self.former.items() if name not in new})
        folders = _others(self.path, os.path.expanduser(f"{CACHE}/sync".encode()) if self.fixed else b"")
        elsewhere = {what: path for folder in folders for path, what in contents(folder)}
        for number, (name, kind, what, _) in enumerate(self.files):
            self._above(name)
            path = os.path.join(self.path, name)
            if kind == LINK:
                self._link(what, path)
            elif digest(path) == what:
                self._mode(path, executable=kind == EXECUTABLE)
            elif what in self.lacking or not (what in elsewhere and self._copied(number, elsewhere[what])):
                self.lacking.setdefault(what, []).append(number)
        return [numbers[0] for numbers in self.lacking.values()]

    def take(self, number: int, listener: Listener) -> None:
        """Write a content that comes now to all of its places.

        Raises:
            OSError: the system refuses it.
            ValueError: it isn't what was announced.
        """
        name, _, what, size = self.files[number]
        first, *more = self.lacking[what]
        if not self._put(first, listener.content(size)):
            shown = name.decode(errors="backslashreplace")
            raise ValueError(f"{shown} has changed meanwhile; try again, or let git ignore it")
        for other in more:
            self._copy(other, os.path.join(self.path, name))

    def finish(self) -> None:
        """Write down what is here now, and make the folder of the run."""
        os.makedirs(os.path.join(self.path, self.cwd), exist_ok=True)
        _write(self.list, self.files)

    def _put(self, number: int, pieces: Iterator[bytes]) -> bool:
        """Write a file that appears whole; return whether its content is right, without which it doesn't appear."""
        name, kind, what, _ = self.files[number]
        path, found = os.path.join(self.path, name), hashlib.sha256()
        new = os.path.join(os.path.dirname(path), NEW + os.urandom(8).hex().encode())
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777 if kind == EXECUTABLE else 0o666)
        try:
            with open(fd, "wb") as file:
                for piece in pieces:
                    found.update(piece)
                    file.write(piece)
            if found.hexdigest() != what:
                return False
            self._keep(path, what)
            os.replace(new, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(new)
        return True

    def _copy(self, number: int, source: bytes) -> bool:
        with open(source, "rb") as file:
            return self._put(number, iter(lambda: file.read(PIECE), b""))

    def _copied(self, number: int, source: bytes) -> bool:
        """Copy a file of another folder, if it is still there and still the same: a run may have written to it."""
        with suppress(OSError):
            return self._copy(number, source)
        return False

    def _keep(self, path: bytes, what: str = "") -> None:
        """Set aside what a run has written where a content is to be; an empty folder there goes."""
        with suppress(FileNotFoundError, NotADirectoryError):
            mode = os.lstat(path).st_mode
            if stat.S_ISDIR(mode):
                os.rmdir(path)
            elif digest(path) not in ("", what, self.former.get(os.path.relpath(path, self.path), ("", ""))[1]):
                os.replace(path, path + b"~")

    def _link(self, target: str, path: bytes) -> None:
        if _target(path) != target:
            self._keep(path)
            with suppress(FileNotFoundError):
                os.unlink(path)
            with suppress(FileExistsError):  # another machine that has this folder too
                os.symlink(_bytes(target), path)

    def _above(self, name: bytes) -> None:
        """Make the folders above a file, where a link would lead elsewhere."""
        path = os.path.dirname(os.path.join(self.path, name))
        if path in self.whole:
            return
        self._above(os.path.relpath(path, self.path))
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                self._keep(path)
                with suppress(FileNotFoundError):
                    os.unlink(path)
        os.makedirs(path, exist_ok=True)
        self.whole.add(path)

    @staticmethod
    def _mode(path: bytes, *, executable: bool) -> None:
        mode = os.lstat(path).st_mode
        if bool(mode & stat.S_IXUSR) != executable:
            os.chmod(path, mode | 0o111 & (mode >> 2) if executable else mode & ~0o111)


def listed(folder: bytes) -> list[tuple[bytes, str, str, int]]:
    """Return what was carried into a folder: names, kinds, hashes or targets, sizes."""
    try:
        with open(os.path.join(folder, LIST), "rb") as file:
            return [(_bytes(name), kind, what, size) for name, kind, what, size in json.load(file)]
    except (OSError, ValueError, TypeError):
        return []


def contents(folder: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield the path and hash of each file that was carried into a folder."""
    yield from ((os.path.join(folder, name), what) for name, kind, what, _ in listed(folder) if kind != LINK)


def remove(folder: bytes, files: dict[bytes, tuple[str, str]]) -> None:
    """Remove files that are still what was carried, and folders that are empty without them."""
    above, real = set[bytes](), os.path.realpath(folder)
    for name, (kind, what) in files.items():
        path = os.path.join(folder, name)
        inside = os.path.realpath(os.path.dirname(path)) == os.path.dirname(os.path.join(real, name))  # by no link
        if inside and (_target(path) if kind == LINK else digest(path)) == what:
            with suppress(FileNotFoundError):
                os.unlink(path)
        while name := os.path.dirname(name):
            above.add(name)
    for name in sorted(above, key=len, reverse=True):
        with suppress(OSError):
            os.rmdir(os.path.join(folder, name))


def clean(own: bytes) -> None:
    """Empty all but the newest folders of what was carried, unless a run uses it; what runs have written stays."""
    for folder in _others(own)[KEPT - 1 :]:
        with suppress(OSError):
            fd = os.open(os.path.join(folder, LIST), os.O_RDWR)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _forget(folder)
            finally:
                os.close(fd)


def _forget(folder: bytes) -> None:
    for inside, _, names in os.walk(folder, topdown=False):
        compiled = os.path.basename(inside) == b"__pycache__"
        for name in names:
            if compiled or name.startswith(NEW):
                os.unlink(os.path.join(inside, name))
        if compiled:
            os.rmdir(inside)
    remove(folder, {name: (kind, what) for name, kind, what, _ in listed(folder)})
    if os.listdir(folder) == [LIST]:
        os.unlink(os.path.join(folder, LIST))
        os.rmdir(folder)
    else:
        _write(os.path.join(folder, LIST), [])
        os.utime(os.path.join(folder, LIST), (0, 0))  # it doesn't count any more


def digest(path: bytes) -> str:
    """Return the hash of a file's content; nothing if it isn't a file, or can't be read."""
    found = hashlib.sha256()
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return ""
        with open(path, "rb") as file:
            while piece := file.read(PIECE):
                found.update(piece)
    except OSError:
        return ""
    return found.hexdigest()


def _target(path: bytes) -> str | None:
    with suppress(OSError):
        return _text(os.readlink(path))
    return None


def _others(own: bytes, base: bytes = b"") -> list[bytes]:
    """Return the folders in ``base``, or else beside one, that were carried too, the last one used first."""
    base, found = base or os.path.dirname(own), dict[bytes, float]()
    for name in os.listdir(base) if os.path.isdir(base) else ():
        with suppress(OSError):
            folder = os.path.join(base, name)
            found[folder] = os.stat(os.path.join(folder, LIST)).st_mtime
    found.pop(own, None)
    return sorted(found, key=lambda folder: -found[folder])


def _locked(path: bytes) -> int:
    """Return a descriptor of a file, new or not, with a lock on it that others can have too."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        os.close(fd)


def _write(path: bytes, files: list[Any]) -> None:
    with open(path, "w", encoding="ascii") as file:
        json.dump([[_text(name), *more] for name, *more in files], file)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
