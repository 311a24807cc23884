"""How long a run takes to be back after a rank was killed, beside torchrun: to each rank's first line, and to torch.

    uv run python benchmarks/recover.py [--kills 20] [--ranks 2 8] [--ways accelerate torchrun]

Rank 1 is killed with SIGKILL, again and again in one run, once all ranks are there: of a script without imports,
which shows what the launcher itself takes, and of one that imports torch. Measured is the time from the kill until
the last of the new ranks has begun its script, and until the last has torch. A bare start is the time that the same
interpreter takes for ``python -c pass``.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
# Each rank writes a line as soon as its script begins, and another when it has torch.
SCRIPT = """\
import os, time
def told(what):
    count, rank = os.environ["TORCHELASTIC_RESTART_COUNT"], os.environ["RANK"]
    os.write(stamps, f"{what} {count} {rank} {os.getpid()} {time.monotonic()}\\n".encode())
stamps = os.open(os.environ["STAMPS"], os.O_WRONLY | os.O_APPEND)
told("first")
if os.environ["TORCH"]:
    import torch
    told("torch")
time.sleep(600)
"""
OURS = (
    str(BIN / "accelerate"),
    "launch",
    "-q",
    "--cpu",
    "--num_processes",
    "{ranks}",
    "--restart_policy",
    "always",
    "--max_restarts",
    "{kills}",
)
WAYS = {
    "accelerate": OURS,
    "accelerate --preload": (*OURS, "--preload", "torch"),
    "torchrun": (str(BIN / "torchrun"), "--nproc-per-node", "{ranks}", "--max-restarts", "{kills}"),
}
PATIENCE = 120.0
Stamps = dict[tuple[str, int, int], tuple[int, float]]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    arguments = parser.parse_args()
    print(f"a bare start: {1000 * bare():.0f} ms\n")
    print("| ranks | started by | first line, ms | 95 % | with torch: first line, ms | torch ready, ms | 95 % |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for ranks in arguments.ranks:
        for way in arguments.ways:
            plain, _none = recovered(WAYS[way], ranks, arguments.kills, torch=False)
            first, ready = recovered(WAYS[way], ranks, arguments.kills, torch=True)
            cells = [middle(plain), late(plain), middle(first), middle(ready), late(ready)]
            print(f"| {ranks} | {way} | {' | '.join(f'{1000 * cell:,.0f}' for cell in cells)} |", flush=True)


def bare() -> float:
    """Return the seconds of a bare start."""
    taken: list[float] = []
    for _run in range(15):
        begun = time.monotonic()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        taken.append(time.monotonic() - begun)
    return middle(taken)


def recovered(words: tuple[str, ...], ranks: int, kills: int, *, torch: bool) -> tuple[list[float], list[float]]:
    """Return for each kill the seconds until all ranks had begun their script, and until all had torch."""
    first: list[float] = []
    ready: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        script, stamps = Path(folder) / "script.py", Path(folder) / "stamps"
        script.write_text(SCRIPT)
        stamps.touch()
        environ = {
            **os.environ,
            **{"STAMPS": str(stamps), "TORCH": "1" * torch, "OMP_NUM_THREADS": "1", "HF_HOME": "/nonexistent"},
            "ACCELERATE_LAUNCH_RESTART_POLICY": "always",
        }
        command = [word.format(ranks=ranks, kills=kills + 1) for word in words]
        quiet = subprocess.DEVNULL
        run = subprocess.Popen([*command, str(script)], env=environ, stdout=quiet, stderr=quiet)
        killed = 0.0
        try:
            for count in range(kills + 1):
                found = complete(stamps, count, ranks, "torch" if torch else "first", run)
                if count:
                    first.append(last(found, "first", count, ranks) - killed)
                if count and torch:
                    ready.append(last(found, "torch", count, ranks) - killed)
                time.sleep(0.2)
                killed = time.monotonic()
                os.kill(found["first", count, 1][0], signal.SIGKILL)
        finally:
            run.terminate()
            run.wait()
    return first, ready


def complete(stamps: Path, count: int, ranks: int, what: str, run: subprocess.Popen[bytes]) -> Stamps:
    """Wait until all ranks of an attempt have told this, and return everything that was told."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and run.poll() is None:
        found: Stamps = {}
        for line in stamps.read_text().splitlines():
            kind, attempt, rank, pid, at = line.split()
            found[kind, int(attempt), int(rank)] = int(pid), float(at)
        if all((what, count, rank) in found for rank in range(ranks)):
            return found
        time.sleep(0.01)
    raise SystemExit(f"attempt {count} didn't come: status {run.poll()}")


def last(found: Stamps, what: str, count: int, ranks: int) -> float:
    """Return when the last rank of an attempt told this."""
    return max(found[what, count, rank][1] for rank in range(ranks))


def middle(taken: list[float]) -> float:
    """Return the median."""
    return statistics.median(taken)


def late(taken: list[float]) -> float:
    """Return the 95th percentile: of 20 times, the second longest."""
    return sorted(taken)[-1 - len(taken) // 20]


if __name__ == "__main__":
    main()
