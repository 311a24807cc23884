"""The whole stacks of a standstill, in a file: in the folder of log files, else in one of the user's own."""

from __future__ import annotations

import errno
import os
import stat
import time

from accel_config.showing.printable import one_line
from accel_launch.machine import files
from accel_launch.running.onlookers.registry import folder as folders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_launch.running.onlookers.stall.telling import Stall


def home(environ: Mapping[str, str]) -> str:
    """Return the folder for runs that keep no log files, ``$XDG_STATE_HOME/accel/stacks``; it needn't exist."""
    return files.state(environ, "stacks")


def check(folder: str) -> None:
    """Check that nobody else can put another folder in the place of that of the user's own.

    Raises:
        PermissionError: somebody can.
        OSError: there is none.
    """
    above = os.path.dirname(folder)
    if (facts := os.stat(above)).st_uid != os.geteuid() or facts.st_mode & stat.S_IWOTH:
        raise PermissionError(errno.EPERM, f"others can write to {above}", above)
    folders.check(folder)


class Keeper:
    """Writes the stacks of each standstill of a run."""

    def __init__(self, folder: str, name: str) -> None:
        """Take the folder and the run's name."""
        self.folder, self.name = folder, name

    def keep(self, stall: Stall, found: Mapping[str, Any]) -> str:
        """Write a standstill; return what there is to tell about that."""
        from accel_launch.inspecting import report

        try:
            path = write(self.folder, self.name, f"{stall.text()}\n{report.text(found, threads=True)}")
        except OSError as error:
            return f"note: the stacks of every thread can't be written to {one_line(self.folder)}: {error.strerror}"
        return f"the stacks of every thread: {one_line(path)}"


def write(folder: str, name: str, text: str) -> str:
    """Write a file that has no other's name, whole or not at all; return its path.

    Raises:
        OSError: it can't be written.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if folder == home(os.environ):
        check(folder)
    begun = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{name or os.getpid()}"
    part = os.path.join(folder, f".{begun}_{os.getpid()}.part")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        return _name(part, os.path.join(folder, f"stacks_{begun}"))
    finally:
        try:
            os.unlink(part)
        except OSError:
            pass


def _name(part: str, path: str) -> str:
    """Give the file its name, with a number if another has it already."""
    number = 1
    while True:
        numbered = f"{path}.txt" if number == 1 else f"{path}_{number}.txt"
        if not os.path.lexists(numbered):
            os.rename(part, numbered)
            return numbered
        number += 1
