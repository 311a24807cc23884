"""How soon ranks have torch again after one of them was killed, with the process parked that has imported it.

    uv run python benchmarks/parked.py [--ranks 8] [--kills 20]
    uv run python benchmarks/parked.py --warm [--ranks 2] [--kills 5]

Rank 1 waits until every rank has torch, notes the time, and kills itself. Each rank notes the time at its first line
and when it has torch. The figures are those of the slowest rank of each attempt, in seconds since that death.

With --warm, the same launch is started again and again, with its modules kept warm and without them, in turns. The
figures are seconds from the start of the launcher until the slowest rank has torch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
SCRIPT = """\
import time
first = time.monotonic()
import torch
import os, signal
attempt, rank = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(os.environ["RANK"])
folder = os.environ["STAMPS"]
with open(f"{folder}/{attempt}-{rank}.part", "w") as file:
    file.write(f"{first} {time.monotonic()}")
os.rename(file.name, f"{folder}/{attempt}-{rank}")
every = [f"{folder}/{attempt}-{other}" for other in range(int(os.environ["WORLD_SIZE"]))]
while not all(map(os.path.exists, every)):
    time.sleep(0.01)
if rank == 1 and attempt < int(os.environ["KILLS"]):
    with open(f"{folder}/{attempt}-killed", "w") as file:
        file.write(str(time.monotonic()))
    os.kill(os.getpid(), signal.SIGKILL)
if attempt < int(os.environ["KILLS"]):
    time.sleep(60)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("flags", nargs="*", help="further flags of the launch")
    parser.add_argument("--warm", action="store_true")
    arguments = parser.parse_args()
    if arguments.warm:
        again(arguments.ranks, arguments.kills)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "script.py"
        script.write_text(SCRIPT)
        words = ["--cpu", "--num_processes", str(arguments.ranks), "--preload", "torch", *arguments.flags]
        words += ["--restart_policy", "always", "--max_restarts", str(arguments.kills)]
        environ = {**os.environ, "STAMPS": name, "KILLS": str(arguments.kills)}
        began = time.monotonic()
        subprocess.run([BIN / "accelerate", "launch", "-q", *words, script], env=environ, check=True)
        stamps = [
            [tuple(map(float, (folder / f"{n}-{rank}").read_text().split())) for rank in range(arguments.ranks)]
            for n in range(arguments.kills + 1)
        ]
        print(f"first attempt: torch after {max(torch for _first, torch in stamps[0]) - began:.2f} s")
        for place, what in enumerate(("first line", "torch")):
            told = [
                max(one[place] for one in stamps[n + 1]) - float((folder / f"{n}-killed").read_text())
                for n in range(arguments.kills)
            ]
            ordered = sorted(told)
            p95 = ordered[max(0, -(-95 * len(ordered) // 100) - 1)]
            middle = statistics.median(told)
            print(f"{what}: median {middle:.3f} s, 95th percentile {p95:.3f} s, most {ordered[-1]:.3f} s")


def again(ranks: int, runs: int) -> None:
    """Measure launches that find their modules, beside plain ones."""
    ways = {"plain": [], "warm": ["--preload", "torch", "--keep_warm", "10m"]}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        script = Path(name) / "script.py"
        script.write_text("import time, torch\nprint(time.monotonic(), flush=True)\n")
        environ = {**os.environ, "XDG_STATE_HOME": name}
        for turn in range(runs + 1):  # the first one warms up
            for way, flags in ways.items():
                words = [BIN / "accelerate", "launch", "-q", "--cpu", "--num_processes", str(ranks), *flags, script]
                began = time.monotonic()
                done = subprocess.run(words, env=environ, check=True, stdout=subprocess.PIPE, text=True)
                if turn:
                    taken[way].append(max(map(float, done.stdout.split())) - began)
        subprocess.run([BIN / "accelerate", "stop", "--warm"], env=environ, check=True, stdout=subprocess.DEVNULL)
    for way, seconds in taken.items():
        print(
            f"{way}: median {statistics.median(seconds):.3f} s, least {min(seconds):.3f} s, most {max(seconds):.3f} s"
        )


if __name__ == "__main__":
    main()
