"""A rank under a debugger: what its run needs, and how the run differs from others."""

from __future__ import annotations

import os

from accel_config.catalogue import Launcher, Rendezvous, Resources
from accel_config.checking.debugging import listening, names
from accel_config.checking.ranks import LAST
from accel_config.errors import AccelError, SettingError
from accel_config.showing.wording import describe
from accel_launch.planning.checks.libraries import Library
from accel_launch.ranks import debugging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings
    from accel_launch.engines.context import LaunchContext
    from accel_launch.engines.declaration import Engine
    from accel_launch.planning.types import Plan

PROGRAM = os.path.abspath(debugging.__file__)
DEBUGPY = Library("debugpy", ("debugpy",), "debug")
THAWED = ("-X", "frozen_modules=off")
"""Python's own modules as files: debugpy warns that it may miss breakpoints in frozen ones."""
MOST = 65535
# NCCL's watchdog then reports a collective that takes too long, and ends nothing (read in its source).
PATIENT = {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "0", "TORCH_NCCL_ENABLE_MONITORING": "0"}
LOCAL = ("localhost", "::1")


def editor(rank: str | None, port: str) -> tuple[str, ...]:
    """Return the words between a rank's interpreter and its script, by which it waits for an editor."""
    address, number = listening(port)
    return *THAWED, PROGRAM, address, str(number), rank or ""


def prepare(context: LaunchContext, name: str, engine: Engine) -> None:
    """Check whether ranks can be under a debugger in this run, and set their variables.

    Raises:
        AccelError: they can't; the message names both settings.
    """
    settings, findings = context.settings, context.findings
    given = names(settings)
    _elsewhere(context, name, engine)
    rank = _rank(settings, context.layout.total)
    if context.layout.devices and context.layout.total > 1:
        mine = context.host.environ
        context.variables.update({key: text for key, text in PATIENT.items() if not mine.get(key)})
    if context.layout.total > 1:
        findings.notes.append(
            f"{describe(settings, *given)}: torch's process groups wait 10 minutes for all ranks to meet, 30 on the "
            "CPU, and gloo as long for each collective. No variable changes that; give init_process_group a timeout"
        )
    launcher = settings[Launcher]
    if launcher.stall_action != "note" or settings.given("stall_after"):
        asked = [one for one in ("stall_after", "stall_action") if settings.given(one)]
        findings.notes.append(
            f"{describe(settings, *asked)}: without effect, since a rank under a debugger "
            f"({settings.origin(given[0])}) stands still at a prompt"
        )
    if launcher.debug_port is not None:
        _editors(context, rank, *listening(launcher.debug_port))


def _elsewhere(context: LaunchContext, name: str, engine: Engine) -> None:
    """Refuse ranks that aren't this launcher's own on this machine."""
    settings, layout = context.settings, context.layout
    given = names(settings)
    if layout.task is not None:
        raise AccelError(
            f"{describe(settings, *given)}: the scheduler has started the ranks "
            f"({settings.origin('num_processes')}); start one launcher, such as with salloc"
        )
    if layout.machines > 1 or settings[Resources].num_machines.elastic:
        raise AccelError(
            f"{describe(settings, *given, 'num_machines')}: only ranks of this machine can be under a debugger; "
            "leave one of them out"
        )
    for one in given:
        if why := engine.reason(settings.catalogue.by_name[one]):
            raise AccelError(f"{describe(settings, one)} and the engine {name}: {why}; leave out {one}")


def _rank(settings: Settings, total: int) -> int | None:
    """Return the rank that is chosen; None if none is."""
    text = settings[Launcher].debug_rank
    if text is None:
        return None
    rank = total - 1 if text == LAST else int(text)
    if rank >= total:
        ranks = f"its ranks are 0-{total - 1}" if total > 1 else "its one rank is 0"
        raise SettingError(f"{settings.origin('debug_rank')}: debug_rank {rank}: the run has no such rank; {ranks}")
    return rank


def _editors(context: LaunchContext, rank: int | None, address: str, first: int) -> None:
    """Check what editors need, and note how they connect."""
    settings, findings, host = context.settings, context.findings, context.host
    described = describe(settings, "debug_port")
    if settings[Launcher].python is None and not DEBUGPY.installed(host):
        findings.refuse_locally(f"{described} needs debugpy, which isn't installed: {DEBUGPY.remedy(host.python)}")
    ports = {local: first + local for local in range(context.layout.local)} if rank is None else {rank: first}
    if max(ports.values()) > MOST:
        raise AccelError(f"{described}: {len(ports)} ranks need ports up to {max(ports.values())}; give a lower one")
    if (main := settings[Rendezvous].main_process_port) in ports.values():
        both = describe(settings, "debug_port", "main_process_port")
        raise AccelError(f"{both}: two would listen at the port {main}; give another one")
    for port in ports.values():
        if host.probe.ports.busy(port):
            findings.refuse_locally(f"{described}: the port {port} is in use on this machine; give another one")
    if address not in LOCAL and not address.startswith("127."):
        findings.notes.append(f"{described}: whoever can reach {address} can execute code as you")
    import json

    there = host.name if address in ("0.0.0.0", "::") else address  # noqa: S104
    for number, port in ports.items():
        entry = {
            "name": f"rank {number}",
            "type": "debugpy",
            "request": "attach",
            "connect": {"host": there, "port": port},
        }
        findings.notes.append(f"for rank {number}, in VS Code's launch.json: {json.dumps(entry)}")


def applied(planned: Plan, settings: Settings) -> Plan:
    """Return the plan of a run with a rank under a debugger: nobody watches for standing still."""
    rank = None
    if settings[Launcher].debug_port is None:
        rank = _rank(settings, max(planned.hosted, len(planned.commands)))
    several = planned.display.prefix or max(planned.hosted, len(planned.commands)) > 1
    display = planned.display.replace(debugged=rank, prefix=several) if rank is not None else planned.display
    return planned.replace(display=display, watching=planned.watching.replace(after=0.0))
