"""The keeper: a process between the launcher and its guardian, which adopts what a killed guardian leaves.

Only a launcher that can't adopt it itself has one; see `GuardianHandle`.
"""

from __future__ import annotations

import os
import sys

from accel_launch.machine import process_tree
from accel_launch.ranks.signals import PASSED_ON, signal
from accel_launch.ranks.system.prctl import PR_SET_NAME, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from accel_launch.running.guardian.workload import Workload

FILES = 1 << 20  # more descriptors than a process has


def keep(work: Workload) -> None:
    """Turn this fork into the keeper, and return in the guardian, which it forks; tidy up if the launcher is gone."""
    os.setsid()
    for number in PASSED_ON:
        if number != signal.SIGCONT:
            signal.signal(number, signal.SIG_IGN)
    prctl(PR_SET_NAME, b"accel-keeper")
    process_tree.adopt_orphans()
    try:
        guardian = os.fork()
    except OSError:
        os._exit(1)
    if guardian:
        watch(guardian, work=work)


def watch(guardian: int, report: int | None = None, work: Workload | None = None) -> NoReturn:
    """Wait for the guardian's end, kill what it left, and end like it.

    Who isn't our parent learns from the descriptor ``report`` how the guardian ended, when nothing is left of it.
    """
    status = 1
    try:
        kept = sys.maxsize if report is None else report
        os.closerange(0, min(kept, FILES))  # the launcher and its readers wait for the end of these
        os.closerange(min(kept, FILES) + 1, FILES)
        if report is not None:
            os.write(report, b"%d " % guardian)
        ended = None
        while ended is None:
            pid, wait_status = os.waitpid(-1, 0)
            ended = wait_status if pid == guardian else None
        process_tree.kill_tree(os.getpid(), process_tree.reap, session=guardian)
        if work is not None and os.getppid() != work.launcher:
            work.tidy(alone=True)
        if report is not None:
            os.write(report, b"%d" % ended)
        if os.WIFSIGNALED(ended):
            os.kill(os.getpid(), signal.SIGKILL)
        status = os.WEXITSTATUS(ended)
    finally:
        os._exit(status)
