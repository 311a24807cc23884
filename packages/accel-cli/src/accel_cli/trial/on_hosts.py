"""`accelerate test --hosts`: a launch on all machines whose ranks print their results for this command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from accel_cli.trial.results import Following, Results
from accel_config.record import Record
from accel_config.showing.console import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from accel_cli.trial.results import Row
    from accel_config.settings.resolved import Settings

LAUNCHER = ("-P", "-m", "accel_launch")


class Tested(Record):
    """What a suite has found on all machines."""

    status: int
    library: str
    """The version of Hugging Face's accelerate in the ranks; empty if they have none."""
    rows: tuple[Row, ...]
    links: tuple[dict[str, Any], ...]


def test(words: Sequence[str], settings: Settings) -> int:
    """Check the machines and the links between them; return the exit status."""
    as_json = bool(settings.value("json").value)
    found = [_launch([*words, "--check_network"], settings, "torch", quiet=as_json)]
    library = found[0].library
    if not found[0].status and library:
        if not as_json:
            show(f"\nHugging Face's accelerate {library}:\n")
        found.append(_launch(words, settings, "library", quiet=as_json))
    elif not found[0].status and not as_json:
        show("Hugging Face's accelerate isn't installed, so its own checks don't run.\n")
    status = found[-1].status
    if as_json:
        rows = [{**dict(row), "bad": dict(row.bad)} for one in found for row in one.rows]
        show(json.dumps({"status": status, "network": found[0].links, "checks": rows}, indent=2) + "\n")
    return status


def _launch(words: Sequence[str], settings: Settings, suite: str, *, quiet: bool) -> Tested:
    """Run a suite; show its rows as they come, unless ``quiet``."""
    from accel_cli.commands.test import count
    from accel_cli.diagnosis import diagnose

    mark = f"\x1e{os.urandom(12).hex()} "
    with TemporaryDirectory(prefix="accelerate-test-") as folder:
        report = str(settings.value("report").value or os.path.join(folder, "report.json"))
        trial = str(Path(__file__).resolve().parent / "__main__.py")
        results = Results(Path(folder), 1)
        command = [sys.executable, *LAUNCHER, *words, "--report", report, trial, suite, f"{folder}-ranks", mark]
        following = Following(results, (lambda _text: None) if quiet else show)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as launch:
            following.start()
            try:
                _read(launch, results, mark)
                status = launch.wait()
            finally:
                rows = following.finish()
        links = _links(report)
    if not quiet and rows:
        show(count(rows))
        show(diagnose(rows, settings, {}))
    complete = results.ended and all(row.state in ("ok", "skipped") for row in rows)
    status = 128 - status if status < 0 else status
    return Tested(status or int(not complete), results.library, tuple(rows), links)


def _read(launch: subprocess.Popen[bytes], results: Results, mark: str) -> None:
    """Keep the ranks' results where `Results` reads them, and pass on what else they print."""
    assert launch.stdout is not None
    path = results.folder / "all.jsonl"
    for line in launch.stdout:
        _prefix, found, text = line.decode(errors="replace").partition(mark)
        if not found:
            sys.stderr.write(_prefix)
            continue
        results.ranks = json.loads(text)["world"]
        with path.open("a", encoding="utf-8") as file:
            file.write(text)


def _links(report: str) -> tuple[dict[str, Any], ...]:
    try:
        return tuple(json.loads(Path(report).read_text(encoding="utf-8"))["network"])
    except (OSError, ValueError, KeyError):  # nothing was started
        return ()
