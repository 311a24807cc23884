"""The moment in which ranks start: the launcher, which has more to load, leaves them the CPUs."""

from __future__ import annotations

import select
import time

from accel_launch.machine.host import cores

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.output.router import OutputRouter

LONGEST = 0.1  # seconds


def step_back(output: OutputRouter, ranks: int) -> bool:
    """Only carry output until a rank has printed something or all have ended, if there are no more cores than ranks.

    Returns:
        Whether any has printed something.
    """
    printed = False
    if ranks < cores():
        return printed
    poller, quiet, until = select.poll(), set(output.channels.open), time.monotonic() + LONGEST
    while quiet and not printed and (left := until - time.monotonic()) > 0:
        output.register(poller)
        ready = poller.poll(left * 1000)
        printed = output.handle(poller, ready)
        quiet -= {fd for fd, _events in ready}
    return printed
