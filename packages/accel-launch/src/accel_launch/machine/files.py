"""Small files of the system, such as those below ``/proc`` and ``/sys``; where our own are; the machine's name."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def read(*path: str) -> str:
    """Return the file's text without surrounding spaces; empty if it can't be read."""
    try:
        with open(os.path.join(*path), encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def names(folder: str) -> list[str]:
    """Return what is in a folder; nothing if it can't be read."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def node() -> str:
    """Return the name of this machine."""
    uname = getattr(os, "uname", None)
    if uname is None:  # on Windows
        from _socket import gethostname

        return gethostname()
    found: str = uname().nodename
    return found


def state(environ: Mapping[str, str], *parts: str) -> str:
    """Return a path below the folder for what we keep between runs, ``$XDG_STATE_HOME/accel``; it needn't exist."""
    home = environ.get("XDG_STATE_HOME", "")
    if not home.startswith("/"):  # the standard says to ignore others
        home = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(home, "accel", *parts)


def kept(environ: Mapping[str, str], *parts: str) -> bool:
    """Return whether there is such a folder of ours."""
    return os.path.isdir(state(environ, *parts))
