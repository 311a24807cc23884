"""Takes away from the packages, and from nothing else, what isn't there on the system that ``TESTS_PLATFORM`` names.

It is the first thing that an interpreter with this folder on PYTHONPATH imports. Our modules see ``os``, ``signal`` and others
through a view without the names of ``absent.txt``; the standard library, pytest and other packages see all of them.
"""

from __future__ import annotations

import builtins
import os
import sys
from pathlib import Path
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType
    from typing import Any

HERE = Path(__file__).parent
LIBRARY = (os.path.dirname(os.__file__) + os.sep, "<frozen")  # noqa: PTH120
KERNEL = ("/proc", "/sys")
TITLES = {"darwin": "Darwin", "win32": "Windows"}
SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"}
"""All that ``signal.signal`` takes on Windows, but for SIGBREAK."""
GETPATH = 50
RANKS = "/accel_launch/ranks/"

_import = builtins.__import__


class View(ModuleType):
    """A module without what isn't there, and with some things as they are there."""

    def __new__(cls, module: Any, *more: object) -> Any:
        """Return a plain module where our code makes one by the type of a module that it sees."""
        return super().__new__(cls) if more else ModuleType(module)

    def __init__(  # pyright: ignore[reportInconsistentConstructor]
        self, module: ModuleType, missing: set[str], other: dict[str, object]
    ) -> None:
        super().__init__(module.__name__, module.__doc__)
        self.__dict__["_hidden"] = (module, missing, other)

    def __getattr__(self, name: str) -> object:
        module, missing, other = self.__dict__["_hidden"]
        if name in other:
            return other[name]
        if name in missing:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        return getattr(module, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.__dict__["_hidden"][0], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__dict__["_hidden"][0], name)

    def __dir__(self) -> list[str]:
        module, missing, other = self.__dict__["_hidden"]
        return sorted({*dir(module), *other} - missing)


class Library:
    """What our modules call of the C library there."""

    @staticmethod
    def fflush(stream: None) -> int:
        """Write what streams hold."""
        import ctypes

        return ctypes.CDLL(None).fflush(stream)


class Profile:
    """What one system has."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.missing: dict[str, set[str]] = {}
        for line in (HERE.parent / "absent.txt").read_text().splitlines():
            name, module, *names = line.replace(":", "").split()
            if name == system:
                self.missing[module] = {*names}
        self.missing["_signal"] = self.missing["signal"]
        self.other: dict[str, dict[str, object]] = {
            "sys": {"platform": system},
            "platform": {"system": lambda: TITLES[system]},
            "ctypes": {"CDLL": self._no_library},
        }
        if system == "darwin":
            import kqueues

            self.other["select"] = {
                name: made for name, made in vars(kqueues).items() if name.lower().startswith("k")
            }
            self.other["sys"]["executable"] = str(HERE / "python")
            os.environ["TESTS_PYTHON"] = sys.executable
            self.other["fcntl"] = {"fcntl": _fcntl, "F_GETPATH": GETPATH}
            self.other["os"] = {"posix_spawn": _spawn}
        if system == "win32":
            empty = ("supports_dir_fd", "supports_fd", "supports_effective_ids")
            self.other["os"] = {
                "name": "nt",
                "rename": _rename,
                "open": _open,
                **dict.fromkeys(empty, frozenset[object]()),
            }
            self.other["signal"] = self.other["_signal"] = {"signal": _signal}
        self.views: dict[str, View] = {}

    def apply(self) -> None:
        """Stand between our modules and all that they import, and before the kernel's files."""
        builtins.__import__ = self.imported
        sys.addaudithook(_audit)
        for name in ("stat", "lstat", "readlink", "access"):
            guarded = _guarded(getattr(os, name))
            for names in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
                if getattr(os, name) in names:
                    names.add(guarded)
            setattr(os, name, guarded)

    def imported(self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:  # noqa: A002
        """Import as usual, and hand our modules a view."""
        importer = sys._getframe(1).f_globals if globals is None else globals
        if level or not _ours(importer.get("__name__"), importer.get("__file__")):
            return _import(name, globals, locals, fromlist, level)
        if "*" in self.missing.get(name, ()):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = _import(name, globals, locals, fromlist, level)
        if module.__name__ not in {*self.missing, *self.other}:
            return module
        key = module.__name__ if module is not os else "os"
        if key not in self.views:
            self.views[key] = View(module, self.missing.get(key, set()), self.other.get(key, {}))
        return self.views[key]

    def _no_library(self, name: object, *_more: object, **_named: object) -> object:
        if self.system == "win32" and name is None:
            raise TypeError("argument 'name' must be str, not None")
        if name is None:
            return Library
        raise OSError(f"{name} isn't a library of {TITLES[self.system]}")


def _ours(name: object, file: object) -> bool:
    return (isinstance(name, str) and name.startswith("accel_")) or (isinstance(file, str) and RANKS in file)


def _asked_by_us() -> bool:
    """Whether the first caller outside the standard library is ours."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if "site-packages" in file or not file.startswith(LIBRARY):
            return _ours(frame.f_globals.get("__name__"), file)
        frame = frame.f_back
    return False


def _of_the_kernel(path: object) -> bool:
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
    return text.startswith(KERNEL) and (text in KERNEL or text.startswith(tuple(f"{root}/" for root in KERNEL)))


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir") and _of_the_kernel(arguments[0]) and _asked_by_us():
        raise FileNotFoundError(2, "No such file or directory", arguments[0])


def _guarded(call: Callable[..., object]) -> Callable[..., object]:
    def guarded(path: object, *more: object, **named: object) -> object:
        if _of_the_kernel(path) and _asked_by_us():
            if call.__name__ == "access":
                return False
            raise FileNotFoundError(2, "No such file or directory", path)
        return call(path, *more, **named)

    return guarded


def _rename(source: str, target: str) -> None:
    if os.path.lexists(target):
        raise FileExistsError(17, "Cannot create a file when that file already exists", target)
    os.rename(source, target)  # noqa: PTH104


def _open(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    if dir_fd is not None:
        raise NotImplementedError("dir_fd unavailable on this platform")
    if os.path.isdir(path):  # noqa: PTH112
        raise PermissionError(13, "Permission denied", path)
    return os.open(path, flags, mode)


def _fcntl(fd: int, order: int, argument: Any = 0) -> Any:
    """Take macOS's struct flock, and return it; or return the path of an open file."""
    import fcntl
    import struct

    if order == GETPATH:
        return os.fsencode(os.readlink(f"/proc/self/fd/{fd}")).ljust(1024, b"\0")  # noqa: PTH115
    if order != fcntl.F_GETLK:
        return fcntl.fcntl(fd, order, argument)
    start, length, pid, kind, whence = struct.unpack("qqihh", argument)
    found = fcntl.fcntl(fd, order, struct.pack("hhqqi4x", kind, whence, start, length, pid))
    kind, whence, start, length, pid = struct.unpack("hhqqi4x", found)
    return struct.pack("qqihh", start, length, pid, kind, whence)


def _spawn(path: str, words: list[str], environ: Mapping[str, str], **ways: Any) -> int:
    """Ask Linux's ``ps`` for variables and threads as macOS's is asked."""
    return os.posix_spawn(path, [{"-E": "e", "-M": "-L"}.get(word, word) for word in words], environ, **ways)


def _signal(number: int, handler: object) -> object:
    import signal

    if signal.Signals(number).name not in SIGNALS:
        raise ValueError("invalid signal value")
    return signal.signal(number, handler)  # pyright: ignore[reportArgumentType]


if os.environ.get("TESTS_PLATFORM") and builtins.__import__.__name__ == "__import__":  # not for the second time
    Profile(os.environ["TESTS_PLATFORM"]).apply()
    if "ACCEL_FORK_SERVER" in os.environ:  # the program that imports for all ranks is the next of this name
        sys.path.remove(str(HERE))
        sys.path.insert(1, str(HERE))
        ours = sys.modules.pop("sitecustomize")
        try:
            __import__("sitecustomize")
        except ModuleNotFoundError:
            sys.modules["sitecustomize"] = ours
