"""`launch`: the command line's two ends, where arguments come in and messages and status go out."""

from __future__ import annotations

import os
import sys

from accel_config import CATALOGUE, AccelError, split
from accel_config.console import show

from .process import become, leave, say, secure_streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config import Settings, Typed

    from .host import Host
    from .plan import Plan


def main(argv: Sequence[str] | None = None, program: str = "accel-launch") -> int:
    """Launch a script with the arguments of a command line; return the exit status."""
    secure_streams()
    try:
        return launch(sys.argv[1:] if argv is None else list(argv), program)
    except AccelError as error:
        say("".join(f"{program}: {line}\n" for line in str(error).splitlines()))
        return error.status
    except KeyboardInterrupt:
        return 130


def launch(argv: list[str], program: str) -> int:
    """Resolve, plan, and run or show."""
    typed = split(CATALOGUE, argv)
    if typed.help:
        return _help(program)
    from .host import Machine
    from .schedulers import settle

    settings = settle(typed, os.environ, Machine())
    return _carry_out(settings, typed, program)


def _help(program: str) -> int:
    from accel_config.help import text

    show(text(CATALOGUE, f"{program} [flags] SCRIPT [arguments of the script]"))
    return 0


def _carry_out(settings: Settings, typed: Typed, program: str) -> int:
    from accel_config.catalogue import Launcher, Scheduler

    from .host import Host
    from .plan import plan

    launcher, scheduler = settings[Launcher], settings[Scheduler]
    if launcher.explain and not launcher.dry_run:
        from . import explain

        show(explain.table(settings))
        return 0
    host = Host.here()
    if scheduler.slurm or scheduler.kubernetes or scheduler.submit:
        from . import jobs

        return jobs.main(settings, host, typed, program)
    todo = plan(settings, host, typed.script)
    if launcher.dry_run:
        return _show(todo, settings)
    if not launcher.quiet and not _one_of_many(todo):
        _say(todo)
    return _run(todo, host, whole=launcher.debug)


def _show(todo: Plan, settings: Settings) -> int:
    from accel_config.catalogue import Launcher

    from . import explain

    launcher = settings[Launcher]
    show(explain.as_json(todo, settings) if launcher.json else explain.shell(todo))
    if launcher.explain:
        show(explain.table(settings))
    return 0


def _one_of_many(todo: Plan) -> bool:
    """Whether this launcher becomes a rank other than the first, which speaks for all."""
    return todo.engine == "exec" and bool(todo.commands[0].rank)


def _say(todo: Plan) -> None:
    say("".join(f"accel: {line}\n" for line in (todo.summary, *(f"note: {note}" for note in todo.notes))))


def _run(todo: Plan, host: Host, *, whole: bool) -> int:
    if not todo.supervised:
        become(todo)
    from . import report
    from .supervisor import supervise

    result = supervise(todo) if todo.request is None else todo.request.run()
    told = "".join(f"accel: note: {note}\n" for note in result.notes) + report.text(result, host.name, whole=whole)
    if todo.display.report is not None:
        try:
            report.save(result, host.name, todo.display.report)
        except OSError as error:
            told += f"accel: the report {todo.display.report} can't be written: {error.strerror}\n"
    say(told)
    return leave(result)
