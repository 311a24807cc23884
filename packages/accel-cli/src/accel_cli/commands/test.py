"""`test`: launches checks of this machine as a training script would be launched, and says what became of each."""

from __future__ import annotations

import os
import sys

from accel_config import CATALOGUE, AccelError, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.settings import Settings

    from ..results import Row

TRIAL = ("trial", "__main__.py")
INTERRUPTED = 130
HELP = """usage: {program} [--config_file PATH] [flags of launch]

Check that training works on this machine with these settings: ranks, devices, what they exchange, a small model
trained alone and together in each precision, checkpoints. Where Hugging Face's library is installed, its own list
of checks is run too. Takes every flag of `accelerate launch`; the exit status is 0 only if all is well.
"""


def main(argv: Sequence[str] | None = None, program: str = "accelerate-test") -> int:
    """Check what the arguments and the config file describe; return the exit status."""
    try:
        return _test(sys.argv[1:] if argv is None else list(argv), program)
    except AccelError as error:
        for line in str(error).splitlines():
            print(f"{program}: {line}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return INTERRUPTED


def _test(argv: list[str], program: str) -> int:
    typed = split(CATALOGUE, argv)
    if typed.help:
        sys.stdout.write(HELP.format(program=program))
        return 0
    if typed.script:
        raise AccelError(f"{typed.script[0]!r} isn't a flag of launch, and `{program}` takes nothing else")
    from accel_launch.host import Machine
    from accel_launch.schedulers import settle

    settings = settle(typed, os.environ, Machine())
    _refuse(settings)
    status, library = _launch(settings, "torch")
    if status or not library:
        _show("" if status else "Hugging Face's library isn't installed here, so its own checks aren't run.\n")
        return status
    _show(f"\nHugging Face's library {library}:\n")
    return _launch(settings, "library")[0]


def _refuse(settings: Settings) -> None:
    """Raise AccelError for settings that can't go with a test."""
    from accel_config.paradigm import sagemaker

    for name in ("module", "no_python", "dry_run", "explain", "slurm", "submit", "kubernetes"):
        if settings.value(name).value:
            raise AccelError(f"{settings.origin(name)} has no meaning for a test, which has a script of its own")
    if sagemaker(settings) or settings.value("tpu_cluster").value:
        origin = settings.origin("compute_environment" if sagemaker(settings) else "tpu_cluster")
        raise AccelError(
            f"a test runs on this machine, but the settings are for another ({origin}): give --config_file"
        )


def _launch(settings: Settings, suite: str) -> tuple[int, str]:
    """Run a suite; return the exit status, and the version of the library that the ranks found."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from accel_launch import Host, plan, report, run

    from ..diagnosis import diagnose
    from ..results import Following, Results

    host = Host.here()
    with TemporaryDirectory(prefix="accelerate-test-") as folder:
        trial = Path(__file__).resolve().parent.parent.joinpath(*TRIAL)
        todo = plan(settings, host, (str(trial), suite, folder))
        if suite == "torch":
            _show("".join(f"{line}\n" for line in (todo.summary, *(f"note: {note}" for note in todo.notes))))
        results = Results(Path(folder), todo.hosted or len(todo.commands))
        following = Following(results, _show)
        following.start()
        try:
            result = run(todo)
        finally:
            rows = following.finish()
            devices = dict(enumerate(todo.devices, results.first))
    # A check that failed on one rank ends all of them, and its row says more than how they ended.
    told = any(row.state == "failed" for row in rows)
    _show(_count(rows))
    _show(diagnose(rows, settings, devices))
    if result.status and not told:
        _show(report.text(result, host.name, whole=bool(settings.value("debug").value)))
    complete = results.ended and all(row.state in ("ok", "skipped") for row in rows)
    return result.status or int(not complete), results.library


def _count(rows: Sequence[Row]) -> str:
    states = [row.state for row in rows]
    words = {"ok": "passed", "skipped": "skipped", "failed": "failed", "begun": "unfinished"}
    counts = [f"{states.count(state)} {word}" for state, word in words.items() if state in states]
    checks = "1 check" if len(rows) == 1 else f"{len(rows)} checks"
    return f"{checks}: {', '.join(counts)}\n" if rows else "no check was begun\n"


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
