"""The moment in which ranks start: the launcher, which has more to load, leaves them the CPUs."""

from __future__ import annotations

import select
import time

from accel_launch.machine import cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.output.channels import Channels

LONGEST = 0.1  # seconds


def step_back(channels: Channels, ranks: int) -> None:
    """Wait until each rank has begun to print, or has ended, if there are no more CPUs than ranks.

    Nothing is read yet: who sees a line of the run also finds its record.
    """
    if ranks < min(len(cgroup.affinity()), cgroup.cpus() or ranks + 1):
        return
    poller, until = select.poll(), time.monotonic() + LONGEST
    rank_of = {fd: channel.local for fd, channel in channels.open.items()}
    for fd in rank_of:
        poller.register(fd, select.POLLIN)
    quiet = set(rank_of.values())
    while quiet and (left := until - time.monotonic()) > 0:
        for fd, _events in poller.poll(left * 1000):
            poller.unregister(fd)
            quiet.discard(rank_of[fd])
