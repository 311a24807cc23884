"""What it takes to list 100 runs, to leave one, to follow the output of one, and to attach to one again and again.

    uv run python benchmarks/runs.py [--times 15] [--megabytes 1000] [--cycles 1000]

Times are the smallest of several, beside a bare start of the interpreter; CPU time differs less on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect
from pathlib import Path

from accel_launch.running.onlookers.registry import folder
from accel_launch.running.onlookers.registry.record.reader import Reader
from accel_launch.running.onlookers.registry.record.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.runs import Piece

Turn = tuple[float, float]
"""A time from when to when."""

BIN = Path(sys.executable).parent
RUNS, LIVE = 100, 10
TURNS = 10
LINE = b"loss 2.31 of a line that is as long as most are".split(b" ")
PRINTING = """\
import itertools, os, time

begin = time.monotonic()
for number in itertools.count():
    print("step", number, "loss 2.31 of a line that is as long as most are", flush=True)
    if number % 100 == 99:
        if os.path.exists({end!r}):
            break
        left = begin + 0.01 - time.monotonic()
        time.sleep(max(0.0, left))
        begin = time.monotonic()
"""


def main() -> None:
    """Measure and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--cycles", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "XDG_STATE_HOME": home}
        bare = best([sys.executable, "-c", "pass"], environ, arguments.times)
        print(f"a bare start: {bare[0] * 1000:.0f} ms, {bare[1] * 1000:.0f} ms of CPU")
        listing(environ, arguments.times, bare)
        leaving(environ, arguments.times)
        following(environ, arguments.megabytes)
    with tempfile.TemporaryDirectory() as home:
        attaching({**os.environ, "XDG_STATE_HOME": home}, arguments.cycles)


def best(words: list[object], environ: dict[str, str], times: int) -> tuple[float, float]:
    """Return the smallest time, and the smallest CPU time, that a command takes."""
    found: list[tuple[float, float]] = []
    for _time in range(times):
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(list(map(str, words)), env=environ, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((time.monotonic() - began, used))
    walls, cpus = zip(*found, strict=True)
    return min(walls), min(cpus)


def listing(environ: dict[str, str], times: int, bare: tuple[float, float]) -> None:
    """List runs, of which some are live and the launchers of the others were killed."""
    facts = {"began": time.time(), "at": time.time(), "state": "running", "count": 8, "line": "step 1200 loss 2.31"}
    for number in range(RUNS - LIVE):
        path = Path(folder.home(environ)) / f"run-{number}"
        path.mkdir(parents=True)
        (path / folder.LOCK).write_bytes(b" ".join(folder.machine_names()))
        (path / folder.STATE).write_text(json.dumps(facts))
    script = Path(folder.home(environ)).parent / "live.py"
    script.write_text("import time\nprint('step 1200 loss 2.31', flush=True)\ntime.sleep(1000)\n")
    words = [str(BIN / "accelerate"), "launch", "-q", "--cpu", "--num_processes", "2", "-d", str(script)]
    for _live in range(LIVE):
        subprocess.run(words, env=environ, stdout=subprocess.DEVNULL, check=True)
    wall, cpu = best([BIN / "accelerate", "ps"], environ, times)
    for _live in range(LIVE):
        subprocess.run([BIN / "accelerate", "stop", "--now"], env=environ, stdout=subprocess.DEVNULL, check=False)
    print(
        f"ps of {RUNS} runs, {LIVE} of them live: {wall * 1000:.0f} ms, {cpu * 1000:.0f} ms of CPU, "
        f"{cpu / bare[1]:.1f} bare starts"
    )


def leaving(environ: dict[str, str], times: int) -> None:
    """Compare the start of a detached run with the first line of a script."""
    with tempfile.TemporaryDirectory() as scratch:
        script, at = Path(scratch) / "train.py", Path(scratch) / "at"
        script.write_text(f"import time\nopen({str(at)!r}, 'a').write(f'{{time.monotonic()}}\\n')\n")
        words = [str(BIN / "accelerate"), "launch", "-q", "--cpu", "--num_processes", "2"]
        lines: list[float] = []
        for _time in range(times):
            at.unlink(missing_ok=True)
            began = time.monotonic()
            subprocess.run([*words, str(script)], env=environ, check=True)
            lines.append(min(map(float, at.read_text().split())) - began)
        wall, _cpu = best([*words, "--detach", script], environ, times)
        line = min(lines)
        print(f"the first line: {line * 1000:.0f} ms; --detach returns after {wall * 1000:.0f} ms, {wall / line:.2f}")
        subprocess.run([BIN / "accelerate", "wait"], env=environ, stdout=subprocess.DEVNULL, check=False)


def following(environ: dict[str, str], megabytes: int) -> None:
    """Print the output that a record keeps."""
    path = Path(folder.home(environ)) / "run-0"
    store = Store(str(path), megabytes << 22)
    lines = b"step 1200 loss 2.31 of a line that is as long as most are\n" * 1000
    while store.size < megabytes << 20:
        store.print(0, 1, lines)
    wall, cpu = best([BIN / "accelerate", "logs", "-f", "run-0"], environ, 1)
    print(f"logs -f of {megabytes} MB: {wall:.1f} s, {cpu:.1f} s of CPU")


def attaching(environ: dict[str, str], cycles: int) -> None:
    """Attach to a run that prints 10,000 lines a second, and detach; look whether it is slower meanwhile.

    Times with and without cycles take turns, for the machine has other work too. The run never makes up for lost
    time.
    """
    with tempfile.TemporaryDirectory() as scratch:
        script, end = Path(scratch) / "train.py", Path(scratch) / "end"
        script.write_text(PRINTING.format(end=str(end)))
        words = [BIN / "accelerate", "launch", "-q", "--cpu", "--num_processes", "1", "-d", "--name", "busy"]
        words += ["--output_limit", "2000", script]
        subprocess.run(list(map(str, words)), env=environ, check=True, stdout=subprocess.DEVNULL)
        attach(environ)
        turns: tuple[list[Turn], list[Turn]] = [], []
        for _turn in range(TURNS):
            began = time.time()
            for _cycle in range(cycles // TURNS):
                attach(environ)
            turns[1].append((began, time.time()))
            time.sleep((turns[1][-1][1] - began) / 3)
            turns[0].append((turns[1][-1][1], time.time()))
        end.touch()
        subprocess.run([BIN / "accelerate", "wait", "busy"], env=environ, stdout=subprocess.DEVNULL, check=True)
    pieces = list(Reader(str(Path(folder.home(environ)) / "busy")).read())
    whole = numbers(b"".join(piece.data for piece in pieces))
    assert whole == list(range(len(whole))), "lines are lost or doubled"
    alone, slow = (rate(pieces, some) for some in turns)
    took = sum(until - began for began, until in turns[1]) / (TURNS * (cycles // TURNS))
    print(
        f"{cycles} times attach and Ctrl-C, {took * 1000:.0f} ms each: none of {len(whole)} lines lost or doubled; "
        f"{alone:.0f} lines/s without, {slow:.0f} with: {(alone - slow) / alone:+.1%} slower"
    )


def rate(pieces: list[Piece], turns: list[Turn]) -> float:
    """Return how many lines were printed in a second of these times."""
    parts = [[bisect(pieces, at, key=lambda piece: piece.at) for at in turn] for turn in turns]
    found = sum(piece.data.count(b"\n") for first, last in parts for piece in pieces[first:last])
    return found / sum(until - began for began, until in turns)


def attach(environ: dict[str, str]) -> None:
    """Attach, read something, and detach; what was printed are whole lines that follow each other."""
    words = [BIN / "accelerate", "attach", "busy"]
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as attached:
        assert attached.stdout is not None
        first = attached.stdout.readline()
        attached.send_signal(signal.SIGINT)
        seen = numbers(first + attached.stdout.read())
    assert seen == list(range(seen[0], seen[0] + len(seen))), "lines are lost or doubled"
    assert attached.returncode == 0


def numbers(text: bytes) -> list[int]:
    """Return the numbers of lines, each of which has to be whole."""
    found = [line.split(b" ") for line in text.splitlines()]
    assert all(line[0] == b"step" and line[2:] == LINE for line in found), "lines aren't whole"
    return [int(line[1]) for line in found]


if __name__ == "__main__":
    main()
