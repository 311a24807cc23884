"""The script, module or program: it must be there, and something that can be started."""

from __future__ import annotations

import os

from accel_config.catalogue import Launcher
from accel_config.errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.settings.resolved import Settings
    from accel_launch.machine.host import Host
    from accel_launch.planning.findings import Findings


def check(settings: Settings, host: Host, words: Sequence[str], findings: Findings, *, local: bool = True) -> None:
    """Check that the script can be started; ``local`` is False where only other machines have to have it.

    Raises:
        AccelError: it is missing, unreadable, or a folder without ``__main__.py``.
    """
    if not words:
        raise AccelError("there is no script to launch: accelerate launch [flags] SCRIPT [arguments of the script]")
    launcher = settings[Launcher]
    if not local:
        return
    if not host.cwd:
        findings.refuse_locally("the working folder doesn't exist any more: change to one that does")
    elif launcher.module:
        _module(words[0], host, findings, ours=launcher.python is None)
    elif launcher.no_python:
        _program(words[0], host, findings)
    else:
        _file(os.path.join(host.cwd, words[0]), words[0], findings)


def _module(name: str, host: Host, findings: Findings, *, ours: bool) -> None:
    top = name.partition(".")[0]
    local = any(os.path.exists(os.path.join(host.cwd, top + end)) for end in ("", ".py"))
    if ours and not local and not host.probe.packages.has(top):
        findings.refuse_locally(f"there is no module {top!r} on the path of {host.python}")


def _program(name: str, host: Host, findings: Findings) -> None:
    path = os.path.join(host.cwd, name) if "/" in name else host.probe.programs.find(name)
    if path is None or not os.path.exists(path):
        findings.refuse_locally(f"there is no program {name!r}, which --no_python would run")
    elif os.path.isdir(path) or not os.access(path, os.X_OK):
        findings.refuse_locally(
            f"{name} can't be executed: make it executable, or leave out --no_python if it is a Python script"
        )


def _file(path: str, name: str, findings: Findings) -> None:
    if not os.path.exists(path):
        findings.refuse_locally(f"the script {name} doesn't exist{_similar(path)}")
    elif os.path.isdir(path):
        if not os.path.exists(os.path.join(path, "__main__.py")):
            findings.refuse_locally(f"the script {name} is a folder without a __main__.py")
    else:
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            findings.refuse_locally(f"the script {name} can't be read: {error.strerror}")


def _similar(path: str) -> str:
    """Return a suggestion if a file beside ``path`` has a similar name."""
    from accel_config.errors import nearest

    try:
        return nearest(os.path.basename(path), os.listdir(os.path.dirname(path) or "."))
    except OSError:
        return ""
