"""A run without a supervisor, for Windows: ranks are started, awaited and ended, and nothing else is promised."""

from __future__ import annotations

import os
import struct
import subprocess  # noqa: TID251  there is no fork to start ranks by
import time
from signal import SIGINT, default_int_handler, signal

from accel_config.catalogue import Launcher
from accel_config.errors import AccelError
from accel_config.showing.wording import describe
from accel_launch.running.report.records import Ending, Failure, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_config.settings.resolved import Settings
    from accel_launch.planning.types import Plan

LESS = (
    "on Windows ranks are only started, awaited and ended; WSL has the rest: logs, prefixes, restarts, runs, the "
    "cause of a failure"
)
ENGINES = ("exec", "local")
UNHEARD = ("log_dir", "prefix", "filter_ranks", "tee", "terminal", "name", "max_restarts", "stall_action")
"""Settings of what only the supervisor does."""
PACE = 0.05  # seconds between two looks at the ranks
LIBUV = {"USE_LIBUV": "0"}
"""Torch's wheels for Windows lack libuv, and take that for a mistake unless this is set."""
LIMITS, KILL_ON_CLOSE, AT, SIZE = 9, 0x2000, 16, 144
"""JobObjectExtendedLimitInformation, its flag that ends all processes, where that is, and the size."""
INTERRUPTED = 0xC000013A
"""The status of a process that Ctrl-C has ended."""


def fitted(plan: Plan, settings: Settings) -> Plan:
    """Return the plan with notes of what it has no effect on here; in a dry run also of what is refused.

    Raises:
        AccelError: it can't be run here.
    """
    if plan.request is not None:  # a job, which runs elsewhere
        return plan
    dry = settings[Launcher].dry_run
    notes = [LESS] if dry else []
    refused = ""
    if plan.engine not in ENGINES:
        refused = f"engine {plan.engine}: Windows has only {' and '.join(ENGINES)}; launch within WSL"
    elif plan.recording.detached:
        refused = f"{describe(settings, 'detach')}: no run goes on by itself on Windows; launch within WSL"
    if refused and not dry:
        raise AccelError(refused)
    notes += [refused] if refused else []
    unheard = [name for name in UNHEARD if settings.given(name) and settings.value(name).value]
    notes += [f"{describe(settings, name)} has no effect on Windows" for name in unheard]
    return plan.replace(notes=(*notes, *plan.notes))


def run(plan: Plan) -> Result:
    """Start the plan's commands, and end all of them if one fails; return the result.

    Raises:
        AccelError: they can't be started here.
    """
    end_together()
    signal(SIGINT, default_int_handler)
    running: dict[int, subprocess.Popen[bytes]] = {}
    for place, command in enumerate(plan.commands):
        try:
            environ = {**LIBUV, **os.environ, **command.env}
            running[place] = subprocess.Popen(command.argv, env=environ, cwd=command.cwd)  # noqa: S603
        except OSError as error:
            _end(running)
            status = 127 if isinstance(error, FileNotFoundError) else 126
            raise AccelError(f"{command.argv[0]} can't be started: {error.strerror}", status=status) from None
    return _awaited(plan, running)


def _awaited(plan: Plan, running: dict[int, subprocess.Popen[bytes]]) -> Result:
    endings: list[Ending] = []
    until: float | None = None
    first: Ending | None = None
    while running:
        try:
            time.sleep(PACE)
            for place in [place for place, process in running.items() if process.poll() is not None]:
                endings.append(_ending(plan, place, running.pop(place)))
                if endings[-1].failed and first is None and until is None:
                    first = endings[-1]
                    _end(running)
        except KeyboardInterrupt:  # the console has sent it to the ranks as well
            until = time.monotonic() + plan.grace if until is None else 0.0
        if until is not None and time.monotonic() > until:
            _end(running)
    failure = None
    if first is not None:
        failure = Failure(
            ending=first, device=plan.devices[first.local_rank] if plan.devices else None, cause=first.how
        )
    status = 128 + SIGINT if until is not None else first.status if first is not None else 0
    return Result(status=status, failure=failure, endings=tuple(endings))


def _ending(plan: Plan, place: int, process: subprocess.Popen[bytes]) -> Ending:
    code, rank = process.returncode, plan.commands[place].rank
    status = 128 + SIGINT if code == INTERRUPTED else 128 - code if code < 0 else min(code, 255)
    return Ending(place if rank is None else rank, place, process.pid, status, max(0, -code), time.time())


def _end(running: dict[int, subprocess.Popen[bytes]]) -> None:
    for process in running.values():
        process.kill()


def end_together() -> None:
    """Let the system end all processes below this one when it ends, however that happens."""
    import ctypes

    libraries: Any = getattr(ctypes, "WinDLL", None)
    if libraries is None:
        return
    kernel = libraries("kernel32")
    kernel.CreateJobObjectW.restype = ctypes.c_void_p
    job = ctypes.c_void_p(kernel.CreateJobObjectW(None, None))
    limits = bytearray(SIZE)
    struct.pack_into("I", limits, AT, KILL_ON_CLOSE)
    kernel.SetInformationJobObject(job, LIMITS, bytes(limits), SIZE)
    kernel.AssignProcessToJobObject(job, ctypes.c_void_p(-1))  # this process; a job is inherited
