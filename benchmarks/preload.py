"""Ranks forked from one import, beside those that import for themselves and torchrun's, in turns, in one run.

    uv run python benchmarks/preload.py [--runs 3] [--ranks 1 2 8 32] [--ways plain preloaded torchrun] [--no-opens]

Every figure is the median of runs that take turns with all others. A rank stamps the time when it has torch, and when
it has its first all-reduce over gloo behind it. CPU seconds are those of all processes: of a launch whose ranks are
gone as soon as they have torch, and of one that reduces and ends as usual. Memory is the sum of the ranks'
proportional set sizes, in which what they share counts once, taken when all have reduced and collected garbage once,
which writes to every object that Python has. Files are those that all processes open or look for, counted by strace
in a launch of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
SCRIPT = """\
import gc, json, os, time
import torch
stamp = {"torch": time.monotonic()}
if os.environ["UNTIL"] == "reduced":
    import torch.distributed as dist
    for name, text in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        os.environ.setdefault(name, text)
    dist.init_process_group("gloo")
    dist.all_reduce(torch.ones(1))
    stamp["reduced"] = time.monotonic()
    gc.collect()
    dist.barrier()
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    stamp["memory"] = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    dist.barrier()
    dist.destroy_process_group()
os.write(os.open(os.environ["STAMPS"], os.O_WRONLY | os.O_APPEND), json.dumps(stamp).encode() + b"\\n")
if os.environ["UNTIL"] == "torch":
    os._exit(0)
"""
HEADS = {
    "torch": "all have torch, s",
    "reduced": "all have reduced, s",
    "cpu": "CPU s to have torch",
    "whole": "CPU s in all",
    "memory": "memory of all ranks, MB",
    "opens": "files opened",
}
WAYS = ("plain", "preloaded", "torchrun")
Figures = dict[str, float]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 8, 32])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--no-opens", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(SCRIPT)
        every = {pair: words for count in arguments.ranks for pair, words in commands(script, count).items()}
        named = {pair: words for pair, words in every.items() if pair[1] in arguments.ways}
        once(next(iter(named.values())), "torch")  # warms up
        found = measure(named, arguments.runs)
        print(table(found), flush=True)
        if not arguments.no_opens and shutil.which("strace"):
            counted = {pair: {"opens": opens(words, Path(folder) / "strace.txt")} for pair, words in named.items()}
            print(table(counted))


def commands(script: Path, count: int) -> dict[tuple[int, str], list[str]]:
    """Return how to start so many ranks in each way."""
    plain = [str(BIN / "accelerate"), "launch", "-q", "--cpu", "--num_processes", str(count)]
    return {
        (count, "plain"): [*plain, str(script)],
        (count, "preloaded"): [*plain, "--preload", "torch", str(script)],
        (count, "torchrun"): [str(BIN / "torchrun"), "--nproc-per-node", str(count), str(script)],
    }


def measure(named: dict[tuple[int, str], list[str]], runs: int) -> dict[tuple[int, str], Figures]:
    """Return medians of each way to start."""
    taken: dict[tuple[int, str], list[Figures]] = {pair: [] for pair in named}
    for turn in range(runs):
        for pair, words in named.items():
            taken[pair].append({**once(words, "torch"), **once(words, "reduced")})
            print(turn, *pair, taken[pair][-1], file=sys.stderr)  # half an hour is long to lose
    return {
        pair: {name: statistics.median(one[name] for one in several) for name in several[0]}
        for pair, several in taken.items()
    }


def once(words: list[str], until: str) -> Figures:
    """Launch, and return the figures of it; where ranks are gone when they have torch, CPU seconds alone."""
    with tempfile.NamedTemporaryFile("r") as stamps:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(words, env=environ(stamps.name, until), stdout=subprocess.DEVNULL, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        ranks: list[Figures] = [json.loads(line) for line in stamps]
    assert done.returncode == 0, words
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if until == "torch":
        return {"cpu": cpu}
    return {
        "whole": cpu,
        "torch": max(one["torch"] for one in ranks) - started,
        "reduced": max(one["reduced"] for one in ranks) - started,
        "memory": sum(one["memory"] for one in ranks),
    }


def environ(stamps: str, until: str) -> dict[str, str]:
    """Return the environment of a launch: one thread a rank, as the launcher gives where ranks outnumber cores."""
    return {**os.environ, "STAMPS": stamps, "UNTIL": until, "OMP_NUM_THREADS": "1", "HF_HOME": "/nonexistent"}


def opens(words: list[str], log: Path) -> float:
    """Return how many files all processes of a launch open, or look for, until each rank has torch."""
    trace = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=open,openat", "-o", str(log)]
    with tempfile.NamedTemporaryFile("r") as stamps:
        subprocess.run([*trace, *words], env=environ(stamps.name, "torch"), stdout=subprocess.DEVNULL, check=True)
    with log.open(errors="replace") as lines:
        return sum("open" in line and "resumed" not in line for line in lines)


def table(found: dict[tuple[int, str], Figures]) -> str:
    """Return the figures as a Markdown table."""
    shown = [name for name in HEADS if any(name in figures for figures in found.values())]
    rows = [
        f"| ranks | started | {' | '.join(HEADS[name] for name in shown)} |",
        f"| ---: | --- |{' ---: |' * len(shown)}",
    ]
    for (count, how), figures in found.items():
        cells = " | ".join(f"{figures[name]:,.{0 if name in ('memory', 'opens') else 2}f}" for name in shown)
        rows.append(f"| {count} | {how} | {cells} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
