"""Check what we say of devices, on a machine with NVIDIA GPUs: a table of claims, and whether each holds.

    python benchmarks/gpu_check.py [--only memory] [--out gpu-out] [--compare FIRST.json]

The machine needs Python, NVIDIA's driver and torch, and no network. What has to be carried are a few MB: this file,
the folders `benchmarks/gpu_checks` and `examples`, and our packages, either in the clone (`packages`) or as wheels:

    uv build --all-packages --wheel --out-dir gpu-wheels     # six wheels, 1 MB
    python benchmarks/gpu_check.py --wheels gpu-wheels       # there

Wheels in that folder aren't installed but unpacked, PyYAML's too if the machine lacks it. torch is too large: it
has to be there. Checks that need transformers, peft, accelerate or scikit-learn are skipped by name where these are
missing. docs/gpu.md has the commands.

In the folder of `--out` are `results.json`, `table.md`, what each check printed, and `gpu-CARD.json` with the points
of memory, in the form of tests/estimate/measured. `--keep results.json` puts these and the table into a clone, which
needs no GPU. A second run into the folder adds to the first. A check that hangs is ended at its limit with all that
it started. The exit status is 1 if a claim doesn't hold or a check is broken.
`--rehearse` runs the same checks on torch's CPU: it shows that they run, and nothing of a device.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import signal
import sys
import tempfile
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_checks import check, measured, results, runner  # noqa: E402
from benchmarks.gpu_checks.bench import Bench  # noqa: E402

AREAS = ("finding", "tools", "endings", "runs", "memory")
"""In the order in which they run: memory last, which does with the time that is left."""
WITHIN = 530.0
"""Seconds for all checks, under nine minutes."""
HOUR = 3600.0


def main(program: str = __file__) -> int:
    """Run the checks, print and write the table; ``program`` is run again for each check."""
    if sys.version_info < (3, 11):  # noqa: UP036  before the packages fail by it
        sys.exit(f"gpu_check: Python 3.11 or newer is needed; this is {platform.python_version()}")
    given = arguments().parse_args()
    for area in AREAS:
        import_module(f"benchmarks.gpu_checks.areas.{area}")
    if given.keep:
        return measured.keep(given.keep, ROOT)
    try:
        checks = check.chosen(given.only)
    except ValueError as error:
        sys.exit(f"gpu_check: {error}")
    if given.list:
        for one in checks:
            print(f"{one.name:24} {one.claim} (needs: {', '.join(one.needs)})")
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    find_packages(given.wheels, given.out.resolve())
    if given.child:
        seen = json.loads((given.out / "facts.json").read_text())
        bench = Bench(Path.cwd(), seen, rehearse=given.rehearse, seconds=given.seconds)
        return runner.child(given.child, Path("rows.jsonl").resolve(), bench)
    return run(checks, given, program)


def ended(_signal: int, _frame: object) -> None:
    """Stop as by Ctrl-C: everything that was started is killed."""
    raise KeyboardInterrupt


def run(checks: list[check.Check], given: argparse.Namespace, program: str) -> int:
    """Run checks; return the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # the latter where a connection to a lent machine breaks
        signal.signal(number, ended)
    first = results.load(given.compare)[1] if given.compare else {}
    out = Path(tempfile.mkdtemp(prefix="checks-", dir=given.out)).resolve()
    bench = Bench(out, {}, rehearse=given.rehearse)
    words = [str(Path(program).resolve()), "--out", str(out), *["--rehearse"] * given.rehearse]
    within = time.monotonic() + (given.within or (HOUR if given.rehearse else WITHIN))
    runner.look(bench)
    about = surroundings(bench)
    for why, names in runner.skipped(checks, bench).items():
        sys.stderr.write(f"not seen: {', '.join(names)}: {why}\n")
    rows = results.earlier(given.out / "results.json", about)
    now: dict[str, list[check.Row]] = {}
    stopped = 0
    print(results.HEAD, flush=True)
    try:
        for one, found, seconds in runner.run_all(checks, bench, within - time.monotonic(), words):
            now[one.name] = rows[one.name] = found
            for row in found:
                print(results.line(row), flush=True)
            sys.stderr.write(f"{one.name}: {seconds:.1f} s\n")
            written(given.out, about, rows)  # after each: a machine may be taken away
    except KeyboardInterrupt:
        stopped = 130
        print("\nInterrupted.")
    print(f"\n{results.heading(about)}\n{results.counted(results.flat(now))}")
    if given.compare:
        print("\n" + results.compared(first, now), end="")
    return stopped or results.status(results.flat(now))


def written(out: Path, about: dict[str, Any], rows: dict[str, list[check.Row]]) -> None:
    """Write what has been seen, in this run and in earlier ones here."""
    every = results.flat(rows)
    results.save(out / "results.json", about, rows)
    (out / "table.md").write_text(f"{results.heading(about)}\n\n{results.table(every)}")
    measured.save(out, about, every)


def surroundings(bench: Bench) -> dict[str, Any]:
    """Return what the results depend on."""
    gpus, seen = bench.gpus, [str(one["name"]) for one in bench.facts.get("devices", ())]
    mine = next((gpu for gpu in gpus if gpu.uuid == bench.uuid), gpus[0] if gpus else None)
    return {
        "card": None if bench.rehearse else next(iter(seen or [gpu.name for gpu in gpus]), None),
        "cards": len(gpus),
        "driver": mine.driver if mine else None,
        "torch": bench.facts.get("torch"),
        "cuda": bench.facts.get("cuda"),
        "nccl": bench.facts.get("nccl"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "rehearsed": bench.rehearse,
    }


def find_packages(wheels: Path | None, out: Path) -> None:
    """Have our packages found: in wheels, where they are installed, or in the clone.

    Their sources need PyYAML, and nothing else.
    """
    if wheels is not None:
        runner.unpacked(wheels, out)
    elif find_spec("accel_cli") is None:
        runner.found_first(*map(str, sorted((ROOT / "packages").glob("*/src"))))
    for what, module in {"Accel": "accel_cli", "PyYAML": "yaml"}.items():
        if find_spec(module) is None:
            sys.exit(f"gpu_check: {what} isn't found; put its wheel into a folder and give --wheels FOLDER")


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="areas or checks to run; --list shows them"
    )
    parser.add_argument("--list", action="store_true", help="list the checks, and run none")
    parser.add_argument("--out", type=Path, default=Path("gpu-out"), help="the folder for what is written")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="wheels to unpack and use")
    parser.add_argument("--compare", type=Path, metavar="JSON", help="results of a first run to compare with")
    parser.add_argument("--keep", type=Path, metavar="JSON", help="take results into this clone, and run nothing")
    parser.add_argument(
        "--within", type=float, help=f"seconds for all checks [default: {WITHIN:g}; a rehearsal has an hour]"
    )
    parser.add_argument("--rehearse", action="store_true", help="run the checks on the CPU")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
