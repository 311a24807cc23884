"""`test`: launches checks of this machine as `launch` would launch a script, and prints the result of each."""

from __future__ import annotations

import os

from accel_config import CATALOGUE, AccelError, front, split
from accel_config.showing.console import show
from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.settings.resolved import Settings

TRIAL = ("trial", "__main__.py")
HELP = """usage: {program} [--config_file FILE] [flags of launch]

Check that training works on this machine with these settings: ranks, devices, collectives, a small model trained
alone and together in each precision, checkpoints. If Hugging Face's accelerate is installed, run its own checks too.

Every flag of `accelerate launch` is valid here. With --hosts, check all of those machines, and first the links
between them; --json then prints all results as JSON. --version prints the version of accel-cli. The exit status is 0
only if every check passes.
"""


def main(argv: Sequence[str] | None = None, program: str = "accelerate-test") -> int:
    """Check this machine with the settings of the arguments and the config file; return the exit status."""
    return front.run(lambda words: _test(words, program), argv, program)


def _test(words: list[str], program: str) -> int:
    if words == ["--version"]:
        from accel_cli import __version__

        show(f"accel-cli {__version__}\n")
        return 0
    typed = split(CATALOGUE, words)
    if typed.help:
        show(HELP.format(program=program))
        return 0
    if typed.script:
        raise AccelError(f"{typed.script[0]!r} isn't a flag of launch; {program} takes only flags of launch")
    from accel_launch.machine.probe import Probe
    from accel_launch.schedulers import settle

    settings = settle(typed, os.environ, Probe())
    _refuse(settings)
    if settings.value("hosts").value is not None:
        from accel_cli.trial.on_hosts import test

        return test(settings)
    status, library = _launch(settings, "torch")
    if status or not library:
        show("" if status else "Hugging Face's accelerate isn't installed, so its own checks don't run.\n")
        return status
    show(f"\nHugging Face's accelerate {library}:\n")
    return _launch(settings, "library")[0]


def _refuse(settings: Settings) -> None:
    """Refuse settings that don't fit a test.

    Raises:
        AccelError: there is such a setting.
    """
    from accel_config.settings.paradigm import sagemaker

    for name in ("module", "no_python", "dry_run", "explain", "slurm", "submit", "kubernetes"):
        if settings.value(name).value:
            raise AccelError(f"{settings.origin(name)} can't be used with a test, which runs its own script")
    if sagemaker(settings) or settings.value("tpu_cluster").value:
        origin = settings.origin("compute_environment" if sagemaker(settings) else "tpu_cluster")
        raise AccelError(
            f"a test runs on this machine, but the settings are for another one ({origin}); give --config_file"
        )


def _launch(settings: Settings, suite: str) -> tuple[int, str]:
    """Run a suite; return the exit status, and the version of Hugging Face's accelerate in the ranks."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from accel_cli.diagnosis import diagnose
    from accel_cli.trial.results import Following, Results, count
    from accel_launch import Host, plan, run
    from accel_launch.running.report import rendering

    host = Host.here()
    with TemporaryDirectory(prefix="accelerate-test-") as folder:
        trial = Path(__file__).resolve().parent.parent.joinpath(*TRIAL)
        planned = plan(settings, host, (str(trial), suite, folder))
        if suite == "torch":
            lines = (planned.summary, *(f"note: {note}" for note in planned.notes))
            show("".join(f"{one_line(line)}\n" for line in lines))
        results = Results(Path(folder), planned.hosted or len(planned.commands))
        following = Following(results, show)
        following.start()
        try:
            result = run(planned)
        finally:
            rows = following.finish()
            devices = dict(enumerate(planned.devices, results.first))
    show(count(rows))
    show(diagnose(rows, settings, devices))
    # A check that failed on one rank ends all ranks, and its row explains more than how they ended.
    if result.status and not any(row.state == "failed" for row in rows):
        show(rendering.text(result, host.name, whole=bool(settings.value("debug").value)))
    complete = results.ended and all(row.state in ("ok", "skipped") for row in rows)
    return result.status or int(not complete), results.library
