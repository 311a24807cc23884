"""A machine that can't take part reports it to the main one, so that nobody waits for it."""

from __future__ import annotations

import os
import select
import time

from accel_config.errors import AccelError
from accel_launch.running.lifeline.member.member import Member
from accel_launch.running.lifeline.remote_failure import UNABLE, RemoteFailure
from accel_launch.running.lifeline.secret import Secret
from accel_launch.running.process import take_secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.settings.resolved import Settings
    from accel_launch.machine.host import Host
    from accel_launch.running.lifeline import Lifeline

WITHIN, CLOSED = 3.0, 1.0  # seconds for the main machine to answer, and if nothing listens there yet


def report(settings: Settings, host: Host, script: Sequence[str], why: str) -> None:
    """Report ``why`` this machine can't start, if that ends the run and the main machine's launcher is there."""
    from accel_launch.planning.findings import Findings
    from accel_launch.planning.making import made

    try:
        line = made(settings, host, script, Findings(lenient=True)).lifeline
    except AccelError:
        return
    if line is None or line.main or not line.port or line.least < line.machines:
        return
    try:
        tell(line, host.name, why, Secret(line, take_secret()))
    except OSError:
        return  # a file with a secret that can't be read, which may be the very reason


def tell(line: Lifeline, host: str, why: str, secret: Secret) -> None:
    """Tell the main machine, if it answers in time."""
    member = Member(line.replace(subject=None), host or os.uname().nodename, secret.value, secret.find)
    member.over(RemoteFailure(line.machine, host, time.time(), 1, f"{UNABLE}{why}"))
    began = time.monotonic()
    until = began + WITHIN
    while member.first is None and not member.done and not member.refused and time.monotonic() < until:
        poller = select.poll()
        for fd, events in member.wants().items():
            poller.register(fd, events)
        member.handle(dict(poller.poll(50)))
        member.tick()
        if member.connection.closed_port:
            until = began + CLOSED
    member.close()
