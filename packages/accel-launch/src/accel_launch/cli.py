"""`launch`: arguments come in here, messages and the exit status go out."""

from __future__ import annotations

import os

from accel_config import CATALOGUE, AccelError, split
from accel_config.front import has_color, run, say, secure_streams, tell
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from accel_config import Settings, Typed
    from accel_launch.machine.host import Host
    from accel_launch.planning.types import Plan
    from accel_launch.running.report.records import Result


def main(argv: Sequence[str] | None = None, program: str = "accel-launch") -> int:
    """Launch a script with the arguments of a command line; return the exit status."""
    secure_streams()
    signals = __import__("_signal")  # `signal` wraps it in enums, whose import costs a tenth of the launch
    if os.getpid() != 1 and signals.getsignal(signals.SIGINT) is signals.default_int_handler:
        # Until there is a run, an interrupt is our death. Python's exception may be lost in callbacks of imports.
        signals.signal(signals.SIGINT, signals.SIG_DFL)
    return run(lambda words: launch(words, program), argv, program)


def launch(argv: list[str], program: str) -> int:
    """Resolve the settings, make a plan, and run or show it; return the exit status.

    Raises:
        AccelError: the launch can't work as asked for.
    """
    if argv[:1] == ["--version"]:
        return _version()
    typed = split(CATALOGUE, argv)
    if typed.help:
        from accel_config.showing.help import text

        console.page(text(CATALOGUE, program, typed.topic, console.width(os.environ)), os.environ)
        return 0
    from accel_launch.machine.probe import Probe
    from accel_launch.schedulers import settle

    settings = settle(typed, os.environ, Probe())
    return _carry_out(settings, typed, program, argv)


def _version() -> int:
    from accel_config.showing.installing import version

    console.show(f"accel-launch {version('accel-launch')}\n")
    return 0


def _carry_out(settings: Settings, typed: Typed, program: str, argv: Sequence[str]) -> int:
    from accel_config.catalogue import Launcher, Scheduler
    from accel_launch.machine.host import Host
    from accel_launch.planning.findings import Unable
    from accel_launch.planning.making import plan

    launcher, scheduler = settings[Launcher], settings[Scheduler]
    if settings.value("hosts").value is not None:
        return _on_hosts(settings, typed, (*program.split(), *argv))
    if launcher.explain and not launcher.dry_run:
        _explain(settings)
        return 0
    host = Host.here()
    if scheduler.slurm or scheduler.kubernetes or scheduler.submit:
        from accel_launch import jobs

        return jobs.main(settings, host, typed, program)
    try:
        planned = plan(settings, host, typed.script)
    except Unable as why:
        _tell_others(settings, host, typed, why)
        raise
    from accel_launch.ranks.system import calls

    if not calls.SUPERVISES:
        from accel_launch.running.supervising import plain

        planned = plain.fitted(planned, settings)
    if launcher.dry_run:
        return _show(planned, settings)
    if not launcher.quiet and not _one_of_many(planned):
        _announce(planned)
    recording = planned.recording.replace(command=(*program.split(), *argv))
    planned = planned.replace(recording=recording)
    return _run(planned, host, whole=launcher.debug, quiet=launcher.quiet)


def _tell_others(settings: Settings, host: Host, typed: Typed, why: AccelError) -> None:
    """Tell the run's other machines, which would wait for this one, why it doesn't come."""
    from accel_config.catalogue import Resources

    if settings[Resources].num_machines == 1:
        return
    from accel_launch.running.lifeline.absence import report

    report(settings, host, typed.script, str(why))


def _on_hosts(settings: Settings, typed: Typed, command: Sequence[str]) -> int:
    """Launch on all machines from here, or show how."""
    from accel_config.catalogue import Launcher, Output
    from accel_launch.hosts import showing
    from accel_launch.hosts.hosts_plan import HostsPlan
    from accel_launch.machine.host import Host

    host, launcher = Host.here(), settings[Launcher]
    planned = HostsPlan(settings, host, typed.script)
    if launcher.dry_run or not launcher.explain:
        _check_system(supervised=False, dry=launcher.dry_run)
    if not (launcher.explain or launcher.dry_run):
        output = settings[Output]
        recorded = showing.recorded(planned, command) if output.detach else None

        def follow(**ways: Any) -> int:
            result = planned.run(recorded=recorded, **ways)
            return _told(result, host, output.report, whole=launcher.debug, quiet=launcher.quiet)

        return follow() if recorded is None else _leave(recorded, follow)
    if launcher.dry_run or not launcher.json:
        console.data(showing.as_json(planned) if launcher.json else showing.shell(planned))
    if launcher.explain and not (launcher.dry_run and launcher.json):
        _explain(planned.settings)
    return 0


def _explain(settings: Settings) -> None:
    """Print the settings with their origins; the lines are only shortened for a terminal."""
    from accel_config.showing.listing import table

    everything = settings.value("explain").value == "all"
    if settings.value("json").value:
        from accel_config.showing.listing import launch_json

        console.data(launch_json(settings, everything=everything))
        return
    columns = console.width(os.environ) if console.is_terminal() else None
    console.show(table(settings, everything=everything, width=columns))


def _show(planned: Plan, settings: Settings) -> int:
    from accel_config.catalogue import Launcher
    from accel_launch.planning import explain

    launcher = settings[Launcher]
    console.data(explain.as_json(planned, settings) if launcher.json else explain.shell(planned))
    if launcher.explain and not launcher.json:  # the JSON of a plan has the settings
        _explain(settings)
    return 0


def _one_of_many(planned: Plan) -> bool:
    """Whether this launcher becomes a rank other than the first; the first one prints the summary for all."""
    return planned.engine == "exec" and bool(planned.commands[0].rank)


def _announce(planned: Plan) -> None:
    from accel_launch.ranks.system import calls

    if not calls.SUPERVISES:
        from accel_launch.running.supervising.plain import LESS

        tell("accel: note", (LESS,))
    tell("accel", (planned.summary, *(f"note: {note}" for note in planned.notes)))


def _run(planned: Plan, host: Host, *, whole: bool, quiet: bool) -> int:
    from accel_launch.ranks.system import calls

    if not calls.SUPERVISES and planned.request is None:
        from accel_launch.running.supervising import plain

        return _told(plain.run(planned), host, planned.display.report, whole=whole, quiet=quiet)
    from accel_launch.running.process import become

    if not planned.supervised:
        become(planned)
    if planned.request is None:
        _check_system(supervised=True)
    planned = planned.replace(display=planned.display.replace(announced=not quiet))
    if not planned.recording.detached:
        return _supervise(planned, host, whole=whole, quiet=quiet)

    def supervise(**ways: Any) -> int:
        return _supervise(planned, host, whole=whole, quiet=quiet, **ways)

    return _leave(planned, supervise)


def _check_system(*, supervised: bool, dry: bool = False) -> None:
    """Refuse what this system can't start; in a dry run only tell so."""
    from accel_launch.ranks.system import calls

    why = calls.refusal(supervised=supervised)
    if why and not dry:
        raise AccelError(why)
    if why:
        tell("accel: note", (why,))


def _leave(planned: Plan, supervise: Callable[..., int]) -> int:
    """Let the run go on without this terminal, and print its name."""
    from accel_launch.running.supervising.detaching import detach

    detach(planned, supervise, lambda name: console.show(f"{name}\n"))
    return 0


def _supervise(planned: Plan, host: Host, *, whole: bool, quiet: bool, **ways: Any) -> int:
    """Run the plan to its end and print what there is to report; return the exit status."""
    from accel_launch.running.supervisor import supervise

    if planned.request is not None:
        signals = __import__("_signal")
        if signals.getsignal(signals.SIGINT) == signals.SIG_DFL:
            signals.signal(signals.SIGINT, signals.default_int_handler)  # it asks what to do with the job
    result = supervise(planned, **ways) if planned.request is None else planned.request.run()
    return _told(result, host, planned.display.report, whole=whole, quiet=quiet)


def _told(result: Result, host: Host, report: str | None, *, whole: bool, quiet: bool) -> int:
    """Print what there is to report, and return the exit status."""
    from accel_launch.running.process import leave
    from accel_launch.running.report import rendering  # not before the ranks are started: it takes a while

    tell("accel: note", result.notes)
    text = rendering.text(result, host.name, whole=whole, color=has_color(os.environ))
    if not quiet:
        text += rendering.closing(result) + rendering.retrospect(result)
    text += rendering.queued(result)
    say(text, styled=True)
    if report is not None:
        try:
            rendering.save(result, host.name, report)
        except AccelError as error:
            tell("accel", (f"the report wasn't saved: {error}",))
    return leave(result)
