"""The far side of ``--hosts``: the launcher of one machine, which ssh starts without any argument.

It reads from standard input: a line that introduces the other side, maybe a folder of code, a line with all that it
has to know, and ``go``. To each it answers on standard error. Then standard input is the lifeline to the launcher
that has started it: its end, or its silence, kills the ranks. See `accel_launch.hosts.link` for the other side.
"""

from __future__ import annotations

import json
import os
import sys

from accel_config.errors import AccelError
from accel_launch.hosts.carrying.wire import Listener, Speaker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_launch.planning.types import Plan
    from accel_launch.running.report.records import Result

PLANNING = (
    *("accel_launch.hosts.assigning", "accel_launch.planning.making", "accel_launch.machine.host"),
    *("accel_launch.engines.torchrun", "accel_config.checking.address", "encodings.idna"),
)
MOST_PORTS = 20  # tries to find two free ports, one above the other


def main(listener: Listener | None = None, speaker: Speaker | None = None) -> int:
    """Do what the other side asks for; return the exit status. It may have been spoken with before."""
    listener = listener or Listener()
    hello = json.loads(listener.line())
    speaker = speaker or Speaker(hello["mark"])
    try:
        return _serve(hello, listener, speaker)
    except AccelError as error:
        speaker.refuse(*str(error).splitlines(), status=error.status)


def _serve(hello: Mapping[str, Any], listener: Listener, speaker: Speaker) -> int:
    """Run this machine's ranks, and return the exit status.

    Raises:
        AccelError: this machine can't take part; nothing was started.
    """
    code = hello["sync"]
    if not code:
        _go_to(hello["cwd"])
    speaker.say("ready", **_facts(main=hello["main"]))
    _load(*PLANNING)
    if code:
        from accel_launch.hosts.carrying.receiving import receive

        tree = json.loads(listener.line())["tree"]
        _go_to(os.path.join(receive(listener, speaker, tree), tree["cwd"]))
    asked = json.loads(listener.line())
    planned = _planned(asked)
    ranks = planned.hosted or len(planned.commands)
    speaker.say("planned", ranks=ranks, summary=planned.summary, notes=list(planned.notes))
    _load("accel_launch.running.supervisor", "accel_launch.running.lifeline.failures")
    trial = None
    while (order := listener.line(1).strip()) != "go":
        from accel_launch.hosts.network.trial import Trial

        trial = trial or Trial()
        speaker.say(**trial.answer(json.loads(order)))
    alive = speaker.line("alive")
    planned = planned.replace(display=planned.display.replace(alive=alive))
    result = _run(planned, asked, listener.fd)
    speaker.say("result", **_told(result, asked["rank"]))
    return result.status


def _load(*modules: str) -> None:
    """Import what will be needed while the other machines are waited for."""
    for name in modules:
        __import__(name)


def _go_to(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise AccelError(
            f"the folder {folder} isn't there ({error.strerror}); copy or mount it there, or give --sync"
        ) from None


def _facts(*, main: bool) -> dict[str, object]:
    from accel_config.showing.installing import quick_version

    return {
        "version": quick_version("accel-launch"),
        "host": os.uname().nodename,
        "connection": os.environ.get("SSH_CONNECTION", "").split(),
        "port": _free_ports() if main else 0,
    }


def _free_ports() -> int:
    """Return a free port whose next one is free too: for the ranks, and for the launchers."""
    from accel_launch.machine.probe import Ports

    ports = Ports()
    found = (ports.free() for _ in range(MOST_PORTS))
    return next((port for port in found if not ports.busy(port + 1)), 0)


def _planned(asked: Mapping[str, Any]) -> Plan:
    """Return the plan of this machine.

    Raises:
        AccelError: the launch can't work here.
    """
    from accel_config import CATALOGUE, resolve
    from accel_launch.hosts.assigning import read
    from accel_launch.machine.host import Host
    from accel_launch.planning.making import plan

    os.environ.update(asked["env"])
    settings = resolve(CATALOGUE, (read(asked["settings"]),), asked["notes"])
    planned = plan(settings, Host.here(), asked["script"])
    recording = planned.recording.replace(command=tuple(asked["script"]))
    shared = None if planned.lifeline is None else planned.lifeline.replace(shared=True)
    shown = planned.display.replace(host=asked["label"])
    return planned.replace(display=shown, recording=recording, lifeline=shared)


def _run(planned: Plan, asked: Mapping[str, Any], control: int) -> Result:
    from accel_launch.running.process import CARRIED
    from accel_launch.running.supervisor import supervise

    if asked["secret"]:
        os.environ[CARRIED] = asked["secret"]  # `take_secret` removes it before any rank is started
    return supervise(planned, parent_fd=control)


def _told(result: Result, machine: int) -> dict[str, object]:
    """Return what the other side has to know of the end here."""
    from accel_launch.running.lifeline import failures
    from accel_launch.running.report.rendering import data, retrospect, waited

    failure = failures.of(machine, result)
    known = result.failure
    if failure is not None and known is not None and known.host and known.machine is not None:
        label = None if known.label else failure.rank
        failure = failure.replace(machine=known.machine, host=known.host, rank=label, at=known.at)
    return {
        "status": result.status,
        "signal": result.signal,
        "failure": None if failure is None else failure.message,
        "endings": [list(dict(ending).values()) for ending in result.endings],
        "problems": list(result.problems),
        "notes": [*result.notes, *retrospect(result).removeprefix("accel: ").splitlines()],
        "report": {**data(result, os.uname().nodename), "lines": waited(result)},
    }


if __name__ == "__main__":
    sys.exit(main())
