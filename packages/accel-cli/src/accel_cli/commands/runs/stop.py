"""`stop`: ends runs, or the processes that are kept warm."""

from __future__ import annotations

import os
import signal

from accel_config import front
from accel_config.errors import AccelError
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from accel_launch.runs import Run

SOON = 1.0  # seconds in which a run may end without a word


def main(argv: Sequence[str] | None = None, program: str = "accelerate-stop") -> int:
    """End what the arguments name; return the exit status."""
    return front.run(lambda words: _stop(words, program), argv, program)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(
        program,
        "End runs on this machine, wait for that, and exit with the status of the first that didn't end with 0; or "
        "end the processes that --keep_warm keeps.",
    )
    found.runs()
    found.flag(
        "--signal",
        default="TERM",
        help="Signal to end them by, such as INT or 2; TERM by default. A run that ends by a signal already gets no "
        "other one. USR1 and USR2 only reach the ranks, which may go on. KILL is --now.",
    )
    found.flag("--now", action="store_true", help="Kill the ranks at once, without the grace.")
    found.flag("--warm", action="store_true", help="End your processes that wait for the same launch again.")
    return found


def _stop(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    if arguments.warm:
        from accel_launch.running.guardian.preloading import warm

        pids = warm.stop(os.environ)
        console.show("".join(f"stopped warm process (pid {pid})\n" for pid in pids) or "no process is kept warm\n")
        return 0
    from accel_cli.commands.runs import ending
    from accel_launch.ranks.signals import here

    number = _number(arguments.signal)
    now = arguments.now or number in here("SIGKILL")
    number = signal.SIGTERM if number in here("SIGKILL") else number

    def begin(run: Run) -> None:
        if not run.end(number) and not now:
            name = signal.Signals(number).name
            front.say(f"accel: a signal ends {run.name} already: it gets no {name}, and is waited for\n")

    def end(run: Run) -> None:
        if now:
            run.stop(number, now=True)
        else:
            _wait(run, number)

    return ending.of_each(arguments.run, program, end, begin=begin)


def _wait(run: Run, number: int) -> None:
    """Wait for the end of a run; say so if it takes long."""
    from accel_launch.ranks.signals import here

    run.wait(SOON)
    if run.running:
        grace = "" if run.grace is None else f"; after {run.grace:.0f} s its ranks are killed"
        then = f"{grace}; accelerate stop --now {run.name} kills them now"
        if number in here("SIGUSR1", "SIGUSR2") and run.state != "ending":
            name = signal.Signals(number).name
            then = f"; its ranks got {name}, and may go on after it; accelerate stop {run.name} ends them"
        front.say(f"accel: waiting for {run.name} to end{then}\n")
    run.wait()


def _number(text: str) -> int:
    """Return the number of a signal.

    Raises:
        AccelError: there is no such signal.
    """
    name = text.upper().removeprefix("SIG")
    found = next((one for one in signal.Signals if name in (one.name.removeprefix("SIG"), str(one.value))), None)
    if found is None:
        raise AccelError(f"--signal: {text!r} isn't a signal, such as TERM, INT or 2")
    return int(found)
