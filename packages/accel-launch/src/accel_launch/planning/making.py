"""From settings and the facts of a host to a plan. Nothing is started here."""

from __future__ import annotations

from accel_config.catalogue import DeepSpeed, Hardware, Launcher, Output, Resources, hardware
from accel_config.checking.counts import idle
from accel_config.errors import FAILED, AccelError
from accel_config.settings.paradigm import paradigm
from accel_config.showing.wording import describe
from accel_launch.engines import registry
from accel_launch.engines.context import LaunchContext
from accel_launch.machine import devices
from accel_launch.planning import checks, environment
from accel_launch.planning.checks import script as scripts
from accel_launch.planning.display import display, recording
from accel_launch.planning.findings import Findings
from accel_launch.planning.layout import lay_out, lay_out_job
from accel_launch.planning.summary import summary
from accel_launch.planning.types import Watching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.settings.resolved import Settings
    from accel_launch.engines.declaration import Engine
    from accel_launch.machine.host import Host
    from accel_launch.planning.layout import Layout
    from accel_launch.planning.types import Plan


def plan(settings: Settings, host: Host, script: Sequence[str]) -> Plan:
    """Return the plan for running ``script`` (the script or module, then its arguments) on ``host``.

    In a dry run everything that depends on the machine is a note, never a refusal.

    Raises:
        AccelError: the settings contradict each other or can't work on this host.
    """
    return made(settings, host, script, Findings(lenient=settings[Launcher].dry_run))


def made(settings: Settings, host: Host, script: Sequence[str], findings: Findings) -> Plan:
    """Return the plan, with what is found meanwhile.

    Raises:
        AccelError: the settings contradict each other or can't work on this host.
    """
    checks.combinations(settings, findings)
    launcher = settings[Launcher]
    host = _counted(settings, host, findings)
    name = registry.choose(settings)
    engine = registry.load(name, settings.origin("engine")) if name else None
    job = engine is not None and engine.remote_devices
    taken = idle(settings[Resources].gpu_ids or "") is not None
    if taken:  # nobody waits for devices of a script that isn't there
        scripts.check(settings, host, script, findings, local=True)
    layout = lay_out_job(settings) if job else lay_out(settings, host, findings)
    if name is None or engine is None:
        name = registry.choose_by_ranks(settings, layout)
        engine = registry.load(name)
    if not taken:
        scripts.check(settings, host, script, findings, local=not engine.remote_script)
    _deepspeed_json(settings, host, findings)
    checks.arrangement(settings, host, layout, findings)
    _promised(settings, layout, findings, job=job)
    if job:
        variables = environment.portable(settings, layout)
    else:
        variables, replaced = environment.variables(settings, host, layout)
        findings.notes += replaced
    context = LaunchContext(settings, host, layout, tuple(script), variables, findings)
    if hardware.binding(settings)[0] != "none":
        from accel_launch.planning import binding

        context = context.replace(bound=binding.bound(context, engine))
    debugged = launcher.debug_rank is not None or launcher.debug_port is not None
    if debugged:
        from accel_launch.planning.checks.debugging import prepare

        prepare(context, name, engine)
    planned = _preloaded(_made(name, engine, context), context)
    planned = planned.replace(cpus=tuple(one.cpus for one in context.bound))
    if not findings.selected:
        context.ignore(f"the engine {name} starts its ranks in another way", "wrap", "rank_env")
    shown = display(settings, max(layout.local, len(planned.commands)), layout, script)
    findings.notes += engine.dropped(name, settings, findings.ignored)
    watched = _watched(settings, findings)
    recorded = recording(settings, shown.place)
    if recorded.detached:
        planned = planned.replace(commands=tuple(command.unbuffered() for command in planned.commands))
    elsewhere = layout.total > (planned.hosted or len(planned.commands))
    planned = planned.replace(
        notes=tuple(dict.fromkeys((*settings.notes, *findings.notes))),
        summary=planned.summary or summary(settings, layout, planned),
        grace=float(launcher.grace),
        watching=Watching(float(launcher.stall_after), launcher.stall_action, elsewhere=elsewhere),
        display=shown,
        recording=recorded,
        # A launcher that becomes the script lets go of the devices that it has taken.
        supervised=planned.supervised
        or (shown.asked or watched or bool(recorded.name) or recorded.detached or taken),
        first_rank=layout.rank * layout.local,
        devices=tuple(layout.device(rank) for rank in range(layout.local)),
    )
    if not debugged:
        return planned
    from accel_launch.planning.checks.debugging import applied

    return applied(planned, settings)


def _promised(settings: Settings, layout: Layout, findings: Findings, *, job: bool) -> None:
    """Check what the user wants to rely on: that the run fits the memory, and that its report can be written."""
    if settings[Launcher].check_memory is not None:
        from accel_launch.planning.checks import memory

        memory.check(settings, layout, findings, job=job)
    if settings[Output].report:
        from accel_launch.planning.checks import report

        report.check(settings, findings)


def _counted(settings: Settings, host: Host, findings: Findings) -> Host:
    """Return the host with as many devices as the user says it has."""
    count = settings[Hardware].num_devices
    if count is None:
        return host
    kind = host.devices[0].kind if host.devices else paradigm(settings).kind.removeprefix("MULTI_")
    kind = kind if kind in devices.BY_KIND else "GPU"
    counted = devices.stated(host.devices, count, kind, host.environ)
    if host.devices and len(counted) != len(host.devices):
        findings.notes.append(f"{describe(settings, 'num_devices')}: the drivers' files list {len(host.devices)}")
    return host.replace(devices=counted)


def _made(name: str, engine: Engine, context: LaunchContext) -> Plan:
    """Return the engine's plan.

    Raises:
        AccelError: the engine can't start this run; or one of another package is broken.
    """
    if name in registry.BUILT_IN:
        return engine.make(context)
    from typing import cast

    from accel_launch.planning.types import Plan

    try:
        planned = cast("object", engine.make(context))  # of another package: it may be anything
    except AccelError:
        raise
    except Exception as error:
        raise _broken(name, error) from None
    if not isinstance(planned, Plan):
        raise AccelError(f"the engine {name!r} returned {type(planned).__name__} instead of a Plan", status=FAILED)
    return planned


def _broken(name: str, error: Exception) -> AccelError:
    """Return what to print about an exception of the engine ``name`` of another package."""
    import traceback

    from accel_config.showing.installing import remedy

    way = remedy(error) if isinstance(error, ModuleNotFoundError) else ""
    if way:
        return AccelError(f"the engine {name!r} needs a library: {way}")
    place = traceback.extract_tb(error.__traceback__)[-1]
    return AccelError(
        f"the engine {name!r} failed: {type(error).__name__}: {error} ({place.filename}:{place.lineno})",
        status=FAILED,
    )


def _watched(settings: Settings, findings: Findings) -> bool:
    """Return whether somebody has to look whether the ranks stand still."""
    launcher = settings[Launcher]
    if launcher.stall_after <= 0 or not (settings.given("stall_after") or launcher.stall_action != "note"):
        return False
    from accel_launch.ranks.system import calls

    if not calls.LOOKS:
        what = describe(settings, "stall_after" if settings.given("stall_after") else "stall_action")
        findings.notes.append(f"{what} has no effect: only Linux shows what ranks wait for")
    return calls.LOOKS


def _deepspeed_json(settings: Settings, host: Host, findings: Findings) -> None:
    path = settings[DeepSpeed].deepspeed_config_file
    if path and paradigm(settings).kind == "DEEPSPEED":
        from accel_launch.planning.checks import deepspeed_json

        deepspeed_json.check(settings, host, path, findings)


def _preloaded(planned: Plan, context: LaunchContext) -> Plan:
    """Return the plan with the modules to import once, where that is wanted and the engine allows it."""
    launcher = context.settings[Launcher]
    if not launcher.preload:
        if launcher.keep_warm:
            context.findings.notes.append(
                f"{describe(context.settings, 'keep_warm')} has no effect without --preload, which names what to keep"
            )
        return planned
    if planned.preload is None:
        described = describe(context.settings, "preload")
        context.findings.notes.append(
            f"{described} has no effect: the engine {planned.engine} starts its ranks in another way"
        )
        return planned
    from accel_launch.planning import preload

    modules = preload.chosen(context)
    return planned.replace(preload=modules, keep_warm=preload.warmth(context) if modules else 0.0)
