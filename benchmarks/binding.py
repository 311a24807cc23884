"""Two ranks that compute on the CPU, bound to cores of their own and not, in turns, in one run.

    uv run python benchmarks/binding.py [--runs 7] [--ranks 2] [--steps 400] [--ways none numa cores]

Each step of a rank multiplies matrices with its threads, walks through memory that no cache holds, and reduces a
gradient over gloo, so the slowest rank sets the pace. The time is that of all steps, after ten that warm up. A
migration is a thread that goes on at another CPU (`/proc/self/sched`, where the kernel has it). The load is that of
the machine when the launch begins: with other work beside it, a bound rank has to wait where another would move.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent
SCRIPT = """\
import json, os, sys, time
import torch
import torch.distributed as dist

def migrations():
    found = 0
    for thread in os.listdir("/proc/self/task"):
        try:
            lines = open(f"/proc/self/task/{thread}/sched").read().splitlines()
        except OSError:
            return None
        found += sum(int(line.split(":")[1]) for line in lines if line.startswith("se.nr_migrations"))
    return found

dist.init_process_group("gloo")
a, far, gradient = torch.rand(384, 384), torch.rand(4 << 20), torch.rand(1 << 16)

def step():
    for _ in range(6):
        torch.mm(a, a)
    far.add_(1.0)
    dist.all_reduce(gradient)
    gradient.mul_(0.5)

for _ in range(10):
    step()
dist.barrier()
moved, began = migrations(), time.monotonic()
for _ in range(int(sys.argv[1])):
    step()
took, after = time.monotonic() - began, migrations()
told = {"seconds": took, "migrations": None if moved is None else after - moved}
os.write(os.open(os.environ["TOLD"], os.O_WRONLY | os.O_APPEND), json.dumps(told).encode() + b"\\n")
dist.destroy_process_group()
"""
Figures = dict[str, float]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--ways", nargs="+", default=["none", "numa", "cores"])
    arguments = parser.parse_args()
    found: dict[str, list[Figures]] = {way: [] for way in arguments.ways}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(SCRIPT)
        for _turn in range(arguments.runs):
            for way, figures in found.items():
                figures.append(once(script, way, arguments.ranks, arguments.steps))
                print(way, figures[-1], file=sys.stderr, flush=True)
    print("| `--bind` | seconds, median | from - to | migrations of a rank, median | load |")
    print("| --- | --- | --- | --- | --- |")
    for way, figures in found.items():
        seconds = [one["seconds"] for one in figures]
        moved = [one["migrations"] for one in figures if one["migrations"] >= 0]
        migrations = f"{statistics.median(moved):.0f}" if moved else "not known"
        load = f"{min(one['load'] for one in figures):.1f} - {max(one['load'] for one in figures):.1f}"
        spread = f"{min(seconds):.1f} - {max(seconds):.1f}"
        print(f"| `{way}` | {statistics.median(seconds):.1f} | {spread} | {migrations} | {load} |")


def once(script: Path, way: str, ranks: int, steps: int) -> Figures:
    """Launch once; return the time of the slowest rank, the mean migrations of a rank, and the load before."""
    load = os.getloadavg()[0]
    told = script.with_name("told")
    told.write_text("")
    words = ["launch", "-q", "--cpu", "--num_processes", str(ranks), "--bind", way, script, str(steps)]
    environ = {name: text for name, text in os.environ.items() if name != "OMP_NUM_THREADS"}
    subprocess.run([BIN / "accelerate", *words], env={**environ, "TOLD": str(told)}, check=True)
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    moved = [line["migrations"] for line in lines if line["migrations"] is not None]
    return {
        "seconds": max(line["seconds"] for line in lines),
        "migrations": statistics.mean(moved) if moved else -1.0,
        "load": load,
    }


if __name__ == "__main__":
    main()
