"""Nothing is written: what a script or a library would write is skipped and named."""

from __future__ import annotations

import builtins
import io
import os
import sys
import tempfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from accel_estimate.tracing.script.lines import Lines

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = (
    "mkdir",
    "rmdir",
    "remove",
    "unlink",
    "rename",
    "replace",
    "symlink",
    "link",
    "truncate",
    "chmod",
    "utime",
)
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn")


class Writing:
    """Refuses to write outside of this process's folder for temporary files."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._free = (os.path.realpath(tempfile.gettempdir()) + os.sep, "/dev/")
        self.skipped: dict[tuple[str, str], None] = {}

    def skip(self, what: str) -> None:
        """Note what isn't done, with the user's line."""
        self.skipped[self._lines.here(), what] = None

    def skips(self, what: str, value: Any = None) -> Callable[..., Any]:
        """Return a function that does nothing but note it."""

        def skipped(*_args: Any, **_named: Any) -> Any:
            self.skip(what)
            return value

        return skipped

    def refuse(self) -> None:
        """Begin to refuse, for the rest of this process."""
        opens, starts = io.open, os.open

        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if any(letter in mode for letter in "wax+") and not self._may(file):
                self.skip(f"the file {os.fspath(file)!s}")
                return opens(os.devnull, mode.replace("x", "w"), *args, **kwargs)
            return opens(file, mode, *args, **kwargs)

        def opened_low(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if flags & _WRITES and not self._may(path):
                self.skip(f"the file {os.fspath(path)!s}")
                return starts(os.devnull, os.O_RDWR)
            return starts(path, flags, *args, **kwargs)

        builtins.open = io.open = opened  # pyright: ignore[reportAttributeAccessIssue]
        os.open = opened_low
        for name in _CHANGES:
            setattr(os, name, self._changing(name))
        sys.addaudithook(self._heard)

    def _may(self, path: Any) -> bool:
        if isinstance(path, int):
            return True
        return os.path.realpath(os.fsdecode(path)).startswith(self._free)

    def _changing(self, name: str) -> Callable[..., Any]:
        known = getattr(os, name)

        def change(path: Any, *args: Any, **kwargs: Any) -> Any:
            if kwargs.get("dir_fd") is not None or self._may(path):
                return known(path, *args, **kwargs)
            if not (name == "mkdir" and os.path.isdir(path)):
                self.skip(f"os.{name} of {os.fspath(path)!s}")
            return None

        return change

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _STARTS and str(args[0]).rpartition("/")[2] == "nvidia-smi":
            raise FileNotFoundError("nvidia-smi")  # Accelerate asks how devices are connected
        if event in _STARTS:
            what = f"the command {args[0]!s}"
            self.skip(what)
            raise PermissionError(f"estimate-memory --script starts no other programs: {what}")
