"""How well a hang is told: seeds hangs of many kinds, and looks whether the message names the rank and its line.

    uv run python benchmarks/hangs.py --number 200 --parallel 2 --results hangs.jsonl

Each hang is a script on gloo with 2 to 8 ranks, in which one rank, the culprit, gets stuck at a line marked HERE, in
one of a dozen ways, at a random step, below a random number of calls. The launch has `--stall_after 4`. Right is a
message whose odd rank is the culprit, at the marked line, at most ten seconds after that. What came of each hang is
appended to the file of results at once; those that are in it aren't run again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

LATEST = 10.0  # seconds after `--stall_after`
COMMON = """
import os, sys, time, threading, queue, subprocess, ctypes, re, socket, signal
import torch, torch.distributed as dist

dist.init_process_group("gloo")
RANK, WORLD = dist.get_rank(), dist.get_world_size()
CULPRIT, AT, DEPTH = map(int, sys.argv[1:4])

{text}

def reduce():
    dist.all_reduce(torch.ones(8))

def below(depth):
    if depth:
        return below(depth - 1)
    with open(sys.argv[4], "w") as file:
        file.write(str(time.time()))
    return stuck()

def train():
    for step in range(1000):
        if step == AT and RANK == CULPRIT:
            below(DEPTH)
        reduce()
        time.sleep(0.01)

train()
"""
SCRIPTS = Path(__file__).with_name("hang_scripts")
"""One way of hanging a file: its kind in the first line, what it prepares, and ``stuck``, where the culprit stays."""


def kinds() -> dict[str, list[str]]:
    """Return the ways of each kind of hang."""
    found: dict[str, list[str]] = {}
    for path in sorted(SCRIPTS.glob("*.py")):
        first, _, text = path.read_text().partition("\n")
        found.setdefault(first.removeprefix("# "), []).append(text)
    return found


KINDS = kinds()


def one(number: int, seed: int, folder: Path, *, after: float, preload: bool) -> dict[str, Any]:
    """Seed one hang; return what came of it."""
    chosen = random.Random(seed + number)  # noqa: S311
    kind = list(KINDS)[number % len(KINDS)]
    forms = KINDS[kind]
    form = forms[(number // len(KINDS)) % len(forms)]
    world = chosen.choice((2, 3, 4, 8))
    culprit, at, depth = chosen.randrange(world), chosen.randrange(2, 40), chosen.randrange(4)
    text = COMMON.format(text=form)
    path, report, stuck = folder / f"train_{number}.py", folder / f"report_{number}.json", folder / f"stuck_{number}"
    path.write_text(text)
    expected = [place for place, line in enumerate(text.splitlines(), 1) if "# HERE" in line]
    words = ["--cpu", "--num_processes", world, "--stall_after", after, "--stall_action", "end", "--grace", 1]
    words += [*(["--preload", "torch"] if preload else []), "--report", report, path, culprit, at, depth, stuck]
    command = [sys.executable, "-m", "accel_cli", "launch", *map(str, words)]
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=170 + 3 * after, cwd=folder
        )
    except subprocess.TimeoutExpired:
        return {"kind": kind, "number": number, "right": False, "why": "not told", "world": world}
    took = time.monotonic() - began
    stalls: list[dict[str, Any]] = json.loads(report.read_text())["stalls"] if report.exists() else []
    if not stalls:
        return {
            "kind": kind,
            "number": number,
            "right": False,
            "why": f"status {done.returncode}: {done.stderr[-300:]}",
        }
    stall = stalls[0]
    late = stall["at"] - float(stuck.read_text()) - after
    group = next((each for each in stall["groups"] if culprit in each["ranks"]), None)
    named = bool(group and group["ranks"] == [culprit])
    first = bool(stall["groups"][0] is group or (stall["mismatch"] and world == 2))
    line = bool(group and group["line"] in expected)
    return {
        "kind": kind,
        "number": number,
        "world": world,
        "right": bool(named and first and line and late <= LATEST),
        "late": late,
        "took": took,
        "why": "" if named and first and line else f"culprit {culprit}, line {expected}: {done.stderr[-1500:]}",
    }


def main() -> int:
    """Seed hangs and print the table by kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="Number of the first hang, for a run in pieces.")
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="A kind, or its beginning.")
    parser.add_argument("--stall_after", type=float, default=4.0)
    parser.add_argument("--preload", action="store_true", help="Import torch once for all ranks: faster.")
    parser.add_argument("--results", type=Path, help="A file that results are appended to, a line of JSON each.")
    arguments = parser.parse_args()
    found = _earlier(arguments.results)
    known = {each["number"] for each in found}
    numbers = [
        number
        for number in range(arguments.first, arguments.number)
        if number not in known and list(KINDS)[number % len(KINDS)].startswith(arguments.only or "")
    ]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.parallel) as pool:
        seed, after, preload = arguments.seed, arguments.stall_after, arguments.preload
        running = [pool.submit(one, n, seed, Path(folder), after=after, preload=preload) for n in numbers]
        for each in as_completed(running):
            found.append(each.result())
            if arguments.results:
                with arguments.results.open("a") as file:
                    file.write(json.dumps(found[-1]) + "\n")
    _show(sorted(found, key=lambda each: each["number"]))
    return 0


def _earlier(results: Path | None) -> list[dict[str, Any]]:
    """Return what is in the file of results already."""
    if results is None or not results.exists():
        return []
    return [json.loads(line) for line in results.read_text().splitlines()]


def _show(found: list[dict[str, Any]]) -> None:
    """Print the table by kind, then the misses."""
    total, right = Counter(each["kind"] for each in found), Counter(each["kind"] for each in found if each["right"])
    print("| kind | hangs | right | latest after `--stall_after` |\n| --- | --- | --- | --- |")
    for kind in sorted(total):
        late = max((each.get("late", 0) for each in found if each["kind"] == kind), default=0)
        print(f"| {kind} | {total[kind]} | {right[kind]} | {late:.1f} s |")
    print(f"| **all** | {sum(total.values())} | {sum(right.values())} ({sum(right.values()) / len(found):.1%}) | |")
    for each in found:
        if not each["right"]:
            print(f"\nmissed {each['number']} ({each['kind']}, {each.get('world')} ranks): {each['why']}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
