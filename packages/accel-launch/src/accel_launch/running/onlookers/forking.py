"""What a fork of the launcher does first if it is to look at something, rather than to look after the run."""

from __future__ import annotations

import os

from accel_launch.ranks.signals import PASSED_ON, signal
from accel_launch.ranks.system import calls
from accel_launch.ranks.system.prctl import PR_SET_NAME, die_with, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def become_onlooker(launcher: int, name: bytes, kept: Iterable[int | None] | None = None) -> None:
    """Leave signals to the launcher, end with it, and have a name of at most 15 bytes.

    A fork that stays keeps only the descriptors ``kept`` and the standard streams: the guardian has to see the
    launcher's end, whatever becomes of the fork.
    """
    for number in (*PASSED_ON, signal.SIGWINCH):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    die_with(launcher)
    prctl(PR_SET_NAME, name)
    if kept is None:
        return
    needed = {0, 1, 2, *kept}
    for found in os.listdir(calls.DESCRIPTORS):
        if int(found) not in needed:
            try:
                os.close(int(found))
            except OSError:
                pass


def launcher_stopped() -> bool:
    """Return whether the launcher is stopped, as by Ctrl-Z; in a fork of it."""
    from accel_launch.inspecting import kernel

    fields = kernel.stat(f"/proc/{os.getppid()}/stat", often=True)
    return fields is not None and fields[1] in "Tt"
