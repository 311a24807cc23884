"""A machine that can't take part reports it to the main one, or the main one to all, so that nobody waits for it."""

from __future__ import annotations

import os
import select
import time

from accel_config.errors import AccelError
from accel_launch.running.lifeline.hub.hub import Hub
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

WITHIN, CLOSED = 3.0, 1.0  # seconds for others to answer or to come, and if nothing listens on the main one yet


def report(settings: Settings, host: Host, script: Sequence[str], why: str) -> None:
    """Report ``why`` this machine can't start, if that ends the run, to the launchers that are there."""
    from accel_launch.planning.findings import Findings
    from accel_launch.planning.making import made

    try:
        line = made(settings, host, script, Findings(lenient=True)).lifeline
    except AccelError:
        return
    if line is None or not line.port or line.least < line.machines:
        return
    failure = RemoteFailure(line.machine, host.name, time.time(), 1, f"{UNABLE}{why}")
    line = line.replace(subject=None)
    try:
        secret = Secret(line, take_secret())
    except OSError:
        return  # a file with a secret that can't be read, which may be the very reason
    (_end_all if line.main else _tell_main)(line, host.name or os.uname().nodename, failure, secret)


def _end_all(line: Lifeline, host: str, failure: RemoteFailure, secret: Secret) -> None:
    """End the run on each machine that comes in time; those that wait for this one come at once."""
    hub, everyone, began = Hub(line, host, secret.value), set(range(line.machines)), time.monotonic()
    hub.over(failure)
    while hub.missing is not None and (hub.roster.peers or not hub.roster.finished >= everyone):
        if time.monotonic() > began + (line.timeout if hub.roster.present else WITHIN):
            break
        _turn(hub)
    hub.close()


def _tell_main(line: Lifeline, host: str, failure: RemoteFailure, secret: Secret) -> None:
    """Tell the main machine, if it answers in time."""
    member = Member(line, host, secret.value, secret.find)
    member.over(failure)
    began = time.monotonic()
    until = began + WITHIN
    while member.first is None and not member.done and not member.refused and time.monotonic() < until:
        _turn(member)
        if member.connection.closed_port:
            until = began + CLOSED
    member.close()


def _turn(side: Hub | Member) -> None:
    poller = select.poll()
    for fd, events in side.wants().items():
        poller.register(fd, events)
    side.handle(dict(poller.poll(50)))
    side.tick()
