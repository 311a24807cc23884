"""The moment in which ranks start: the launcher, which has more to load, leaves them the CPUs."""

from __future__ import annotations

import select
import time

from accel_launch.machine import cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.output.router import OutputRouter

LONGEST = 0.1  # seconds


def step_back(output: OutputRouter, ranks: int) -> bool:
    """Only carry output until each rank has begun to print, or has ended, if there are no more CPUs than ranks.

    Returns:
        Whether any rank has printed something.
    """
    printed = False
    if ranks < min(len(cgroup.affinity()), cgroup.cpus() or ranks + 1):
        return printed
    poller, until = select.poll(), time.monotonic() + LONGEST
    rank_of = {fd: channel.local for fd, channel in output.channels.open.items()}
    quiet = set(rank_of.values())
    while (quiet or output.waiting) and (left := until - time.monotonic()) > 0:
        output.register(poller)
        ready = poller.poll(left * 1000)
        printed = output.handle(poller, ready) or printed
        quiet -= {rank_of[fd] for fd, _events in ready if fd in rank_of}
    return printed
