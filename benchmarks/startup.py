"""From the command to the script's first line: ours beside bare Python and torchrun, in turns, in one run.

    uv run python benchmarks/startup.py [--runs 15] [--ranks 1 2 8 64]

Every figure is the median of runs that take turns with all others, so a machine that slows down slows them all.
"Bare" is `python -c pass` of the same interpreter in the same environment. The first line is when the script of the
last rank runs. The peak memory is that of the launcher's own processes, the ranks left out.
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
FIRST_LINE = """\
import os, time
os.write(os.open(os.environ["FIRST_LINE"], os.O_WRONLY | os.O_APPEND), b"%d\\n" % time.monotonic_ns())
time.sleep(float(os.environ.get("STAY", "0")))
"""
CONFIG = "compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\nmixed_precision: 'no'\nnum_processes: 1\n"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 8, 64])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(FIRST_LINE)
        config = Path(folder) / "config.yaml"
        config.write_text(CONFIG)
        named = commands(script, config, arguments.ranks)
        found = measure(named, arguments.runs)
        print(table(found, {name: memory(*named[name]) for name in named if "ranks" in name}))


def commands(script: Path, config: Path, ranks: list[int]) -> dict[str, tuple[list[str], int]]:
    """Return each command to measure, by name, with the number of first lines to wait for."""
    accelerate = str(BIN / "accelerate")
    found = {
        "bare: python -c pass": ([sys.executable, "-c", "pass"], 0),
        "python script.py": ([sys.executable, str(script)], 1),
        "accelerate --help": ([accelerate, "--help"], 0),
        "accelerate launch --help": ([accelerate, "launch", "--help"], 0),
        "accelerate launch script.py": ([accelerate, "launch", "--cpu", str(script)], 1),
        "the same, with a config file": ([accelerate, "launch", "--config_file", str(config), str(script)], 1),
    }
    for count in ranks:
        if count > 1:
            words = [accelerate, "launch", "--cpu", "--num_processes", str(count), str(script)]
            found[f"accelerate launch, {count} ranks"] = (words, count)
    if (BIN / "torchrun").exists():
        found["torchrun, 2 ranks"] = ([str(BIN / "torchrun"), "--nproc-per-node", "2", str(script)], 2)
    return found


def measure(named: dict[str, tuple[list[str], int]], runs: int) -> dict[str, float]:
    """Return median milliseconds of each command; the first round only warms up."""
    times: dict[str, list[float]] = {name: [] for name in named}
    for turn in range(runs + 1):
        for name, (words, lines) in named.items():
            milliseconds = once(words, lines)
            if turn:
                times[name].append(milliseconds)
    return {name: statistics.median(times[name]) for name in named}


def start(words: list[str], stamps: str, **environ: str) -> subprocess.Popen[bytes]:
    """Start a command whose scripts leave the time of their first line in the file ``stamps``."""
    # Bytecode is written by an installer, or by the first run; this machine may be configured not to write any.
    inherited = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.Popen(
        words,
        env={**inherited, "FIRST_LINE": stamps, "HF_HOME": "/nonexistent", **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def once(words: list[str], lines: int) -> float:
    """Return the milliseconds to the last first line, or to the end where there is none."""
    with tempfile.NamedTemporaryFile("r") as stamps:
        started = time.monotonic_ns()
        with start(words, stamps.name) as running:
            running.wait()
        ended = time.monotonic_ns()
        first = [int(line) for line in stamps]
    assert len(first) == lines, f"{words}: {len(first)} of {lines} scripts ran"
    return ((max(first) if first else ended) - started) / 1e6


def memory(words: list[str], lines: int) -> float:
    """Return the peak MB of the launcher and of the process between it and its ranks, while the ranks run."""
    with tempfile.NamedTemporaryFile("r") as stamps, start(words, stamps.name, STAY="1") as running:
        until = time.monotonic() + 30
        while len(Path(stamps.name).read_text().splitlines()) < lines and time.monotonic() < until:
            time.sleep(0.05)
        between = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        own = [running.pid, *(between if len(between) == 1 else [])]
        status = [line for pid in own for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        running.wait()
    return sum(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def table(found: dict[str, float], peaks: dict[str, float]) -> str:
    """Return the figures as a Markdown table."""
    bare = next(iter(found.values()))
    rows = ["| command | ms | times bare | launcher's peak MB |", "| --- | ---: | ---: | ---: |"]
    rows += [
        f"| {name} | {ms:.1f} | {ms / bare:.2f} | {f'{peaks[name]:.0f}' if name in peaks else ''} |"
        for name, ms in found.items()
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    main()
