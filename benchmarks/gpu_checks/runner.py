"""One check after the other, each in a process of its own with a time limit; nothing of it is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu_checks import needs, processes
from benchmarks.gpu_checks.bench import RANKS, ROOT, Bench
from benchmarks.gpu_checks.check import BROKEN, CHECKS, NOT_SEEN, Check, NotSeenError, Row, not_seen

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST = 5.0
"""Seconds that have to be left for another check."""


def child(name: str, rows: Path, bench: Bench) -> int:
    """Run one check in this process, and write each row as soon as it is seen."""
    check = CHECKS[name]
    with rows.open("a") as file:
        for row in seen(check, bench):
            file.write(json.dumps(asdict(row)) + "\n")
            file.flush()
    return 0


def seen(check: Check, bench: Bench) -> Iterator[Row]:
    """Yield a check's rows, and as the last one why it went no further."""
    try:
        yield from check.run(bench)
    except NotSeenError as why:
        yield not_seen(check.claim, str(why))
    except Exception as error:
        traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"the check failed: {type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        yield Row(check.claim, "", text, BROKEN)


def facts(bench: Bench, seconds: float = 120.0) -> dict[str, Any]:
    """Return what torch sees, from a process that ends; ``why`` it sees no device where there is none."""
    if bench.rehearse:
        return {"why": "a rehearsal", "torch": version("torch") if find_spec("torch") else None}
    why = needs.first(("device", "torch"), bench)
    if why:
        return {"why": why}
    try:
        done = bench.run([sys.executable, str(RANKS / "facts.py")], seconds)
        return done.told[0] if done.told else {"why": f"torch can't tell its devices: {done.last}"}
    except RuntimeError as error:
        return {"why": str(error)}


def run(check: Check, bench: Bench, left: float, words: list[str]) -> list[Row]:
    """Run a check in a process of its own; return its rows. ``left`` are the seconds of the whole run."""
    why = needs.missing(check, bench)
    if why:
        return [not_seen(check.claim, why)]
    if left < LEAST:
        return [not_seen(check.claim, f"no time is left; run it alone: --only {check.name}")]
    own = check.seconds * bench.patience
    limit = min(own, left)
    folder = bench.folder / check.name
    folder.mkdir(exist_ok=True)
    rows, log = folder / "rows.jsonl", folder / "log"
    with log.open("w") as output:
        started = subprocess.Popen(
            [sys.executable, *words, "--child", check.name, "--seconds", f"{limit}"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True, start_new_session=True,
            env=bench.environ, cwd=folder,
        )  # fmt: skip
    try:
        in_time = processes.wait(started, limit)
    finally:
        stuck = processes.end_all()
        started.wait()
    text = rows.read_text().replace(f"{ROOT}/", "") if rows.exists() else ""  # the table is for other machines too
    found = [Row(**json.loads(line)) for line in text.splitlines()]
    if not in_time:
        when = "the run's time" if limit < own else f"its limit of {limit:g} s"
        found.append(
            Row(
                check.claim,
                "",
                f"it took longer than {when}; see {log}",
                NOT_SEEN if limit < own else BROKEN,
            )
        )
    elif started.returncode:
        found.append(Row(check.claim, "", f"the check's process ended with {started.returncode}; see {log}", BROKEN))
    if stuck:
        found.append(Row("Nothing is left of a check", "no process", f"pids {stuck} can't be killed", BROKEN))
    return found


def look(bench: Bench) -> None:
    """Find out what torch sees, once for all checks."""
    processes.adopt()
    bench.facts = facts(bench)
    (bench.folder / "facts.json").write_text(json.dumps(bench.facts))


def skipped(checks: list[Check], bench: Bench) -> dict[str, list[str]]:
    """Return the checks that will be skipped, by the reason: it can still be mended."""
    found: dict[str, list[str]] = {}
    for check in checks:
        why = needs.missing(check, bench)
        if why:
            found.setdefault(why, []).append(check.name)
    return found


def run_all(
    checks: list[Check], bench: Bench, within: float, words: list[str]
) -> Iterator[tuple[Check, list[Row], float]]:
    """Yield each check with its rows and its seconds; `look` has to have been called."""
    until = time.monotonic() + within
    try:
        for check in checks:
            began = time.monotonic()
            yield check, run(check, bench, until - began, words), time.monotonic() - began
    finally:
        processes.end_all()


def unpacked(wheels: Path, folder: Path) -> None:
    """Have the packages in wheels found by this process and its children; without installing anything."""
    import zipfile

    site, mine = folder / "site", f"cp{sys.version_info[0]}{sys.version_info[1]}"
    for wheel in sorted(wheels.glob("*.whl")):
        python, abi, _system = wheel.stem.split("-")[-3:]
        whole = wheel.name.lower().startswith("pyyaml")  # it works without its compiled part
        if abi not in {"none", "abi3"} and mine not in python.split(".") and not whole:
            sys.stderr.write(f"gpu_check: {wheel.name} isn't used: it is for {python}, and this Python is {mine}\n")
            continue
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    found_first(str(site))


def found_first(*folders: str) -> None:
    """Put folders first where this process and its children look for modules."""
    sys.path[:0] = folders
    os.environ["PYTHONPATH"] = os.pathsep.join([*folders, *filter(None, [os.environ.get("PYTHONPATH")])])
