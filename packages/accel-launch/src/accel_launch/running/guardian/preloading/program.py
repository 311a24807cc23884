"""What forks of the parked process become: the guardian, whose ranks are there already, and its keeper."""

from __future__ import annotations

import marshal
import os
import sys

from accel_launch.ranks.signals import PASSED_ON, signal
from accel_launch.ranks.system.prctl import PR_SET_NAME, prctl
from accel_launch.running.guardian.guardian import Guardian
from accel_launch.running.guardian.keeper import watch
from accel_launch.running.guardian.preloading.parked import EVENTS, FOLDER, ORDERS, STATUS
from accel_launch.running.guardian.workload import Forked, Spawn, Workload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def main() -> NoReturn:
    """Become what the command line names."""
    try:
        role, *words = sys.argv[1:]
        if role == "keep":
            keep(*map(int, words))
        guard(*words)
    finally:
        os._exit(1)


def keep(status: int, guardian: int) -> NoReturn:
    """Be the keeper of a guardian, as `accel_launch.running.guardian.keeper` describes it, and report its end."""
    for number in PASSED_ON:
        if number != signal.SIGCONT:
            signal.signal(number, signal.SIG_IGN)
    prctl(PR_SET_NAME, b"accel-keeper")
    watch(guardian, status)


def guard(descriptors: str, opening: str, forked: str) -> None:
    """Be the guardian of ranks that are there; or start them, if ``forked`` says why they aren't."""
    fds = list(map(int, descriptors.split()))
    os.lseek(fds[0], 0, os.SEEK_SET)  # the parked process has read it too
    with os.fdopen(fds[0], "rb") as file:
        order: Any = marshal.load(file)  # noqa: S302  our own launcher's
    os.close(fds[STATUS])
    os.close(fds[FOLDER])
    facts = order["work"]
    pids = tuple(map(int, forked.split())) if forked.replace(" ", "").isdecimal() else ()
    spawns = tuple(
        Spawn(rank, tuple(facts["argv"]), one["environ"], facts["cwd"], _streams(one["streams"], fds), cpus)
        for rank, cpus, one in zip(facts["ranks"], facts["cpus"], order["ranks"], strict=True)
    )
    for fd in (*fds[1:], int(opening)):
        try:
            os.set_inheritable(fd, False)
        except OSError:
            continue  # one that was closed
    work = Workload(
        spawns=spawns,
        grace=facts["grace"],
        ignored=frozenset(facts["ignored"]),
        record=None,
        together=facts["together"],
        preload=(),
        scratch=facts["scratch"],
        debugged=facts["debugged"],
        folders=tuple(facts["folders"]),
        forked=Forked(pids, int(opening), "" if pids else forked),
    )
    Guardian(work, fds[ORDERS], fds[EVENTS]).run()


def _streams(places: list[int], fds: list[int]) -> tuple[int, int, int]:
    stdin, stdout, stderr = (fds[place] for place in places)
    return stdin, stdout, stderr
