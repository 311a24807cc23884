"""What it costs to look for hangs: the CPU time of the launcher's side, and the pause of a rank whose stack is read.

    uv run python benchmarks/stall_cost.py [--ranks 8] [--seconds 240] [--table costs] [--stall_after 0]

The first table has the CPU time of the launcher, the process that watches, and the samplers that it starts, as a
share of one core, while all ranks make progress in one way, or wait. `--stall_after` is its default, 300 s; with 0
nobody watches, and what is left is what the launcher itself costs. A run counts from 300 s on, when it is known how
it makes progress. The second has the largest gap that a busy rank saw between two readings of its own clock, while
its stacks were read all the time, and while they weren't. In a part of a gap the rank may have waited for a CPU,
which others used; the largest stop is without that, and only of gaps in which it stood still.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
TICK = os.sysconf("SC_CLK_TCK")
BEGIN = 300  # seconds until it is known how a run makes progress
IMPORTS = "import os, threading, time\nrank = os.environ['RANK']\n"
WAYS = {
    "prints a line every 10 s": "while True:\n    print('step', flush=True)\n    time.sleep(10)\n",
    "prints a line a minute, reads 1 MB/s": (
        "zeros = open('/dev/zero', 'rb')\nfor step in range(100000):\n    zeros.read(1000000)\n    time.sleep(1)\n"
        "    step % 60 or print('step', flush=True)\n"
    ),
    "prints nothing for 4 min at a time, waits": (
        "while True:\n    threading.Event().wait(240)\n    print('step', flush=True)\n"
    ),
    "prints nothing, computes, in many places": (
        "def step(depth):\n    sum(range(10000))\n    step(depth - 1) if depth else time.sleep(0.2)\n"
        "for count in range(10000000): step(count * 7 % 31)\n"
    ),
    "prints nothing, computes, in three places": (
        "def a(): time.sleep(0.3)\ndef b(): time.sleep(0.3)\ndef c(): sum(range(100000))\n"
        "for step in range(10000000):\n    (a, b, c)[step % 3]()\n"
    ),
    "prints nothing, one rank computes in C at one line, the others wait": (
        "import hashlib\ndata = bytes(20000000)\nif rank != '0': threading.Event().wait()\n"
        "while True:\n    hashlib.sha256(data) and time.sleep(0.02)\n"
    ),
    **{
        f"prints nothing, naps, for {seconds} s in each of three places": (
            f"def a():\n    for _ in range({seconds * 5}): time.sleep(0.2)\n"
            f"def b():\n    for _ in range({seconds * 5}): time.sleep(0.2)\n"
            f"def c():\n    for _ in range({seconds * 5}): time.sleep(0.2)\n"
            "while True: a(); b(); c()\n"
        )
        for seconds in (20, 80)
    },
    "prints nothing, one rank computes in Python, for 20 s in each of six functions, the others wait": (
        "if rank != '0': threading.Event().wait()\n"
        + "".join(f"def f{n}():\n    for _ in range(100): sum(range(10000))\n" for n in range(6))
        + "while True:\n    for f in (f0, f1, f2, f3, f4, f5):\n"
        "        end = time.monotonic() + 20\n        while time.monotonic() < end: f()\n"
    ),
    "prints nothing, one rank computes in Python, at the same lines with other variables, the others wait": (
        "if rank != '0': threading.Event().wait()\ndef count():\n    found = 0\n    while True: found += 1\ncount()\n"
    ),
}
THREADS = "for _ in range(30): threading.Thread(target=time.sleep, args=(10000,), daemon=True).start()\n"
"""As many as torch has in a rank."""
GAPS = """
import resource
file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
def look():
    ran, waited, _ = os.pread(file, 100, 0).split()
    switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    return time.monotonic(), (int(ran) + int(waited)) / 1e9, switches
last = look()
for _ in range(2):
    longest = stopped = 0.0
    end = last[0] + 20
    while last[0] < end:
        work()
        now = look()
        gap = now[0] - last[0]
        if now[2] > last[2]:
            stopped = max(stopped, gap - now[1] + last[1])
        longest, last = max(longest, gap), now
    print(longest, stopped, flush=True)
"""


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--stall_after", default="300")
    parser.add_argument("--table", choices=["costs", "pauses"], help="Only this one.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        if arguments.table != "pauses":
            costs(folder, arguments.ranks, arguments.seconds, arguments.stall_after)
        if arguments.table != "costs":
            print("\n| in a busy rank | largest gap, ms | largest stop, ms |\n| --- | --- | --- |")
            for way, (gap, stop) in gaps(folder).items():
                print(f"| {way} | {gap * 1000:.1f} | {stop * 1000:.1f} |")
            print(f"\nload: {os.getloadavg()[0]:.0f}")


def costs(folder: Path, ranks: int, seconds: float, after: str) -> None:
    """Print the table of costs."""
    runs = [started(folder, text, ranks, after) for text in WAYS.values()]
    time.sleep(BEGIN)
    first = [cost(run.pid) for run in runs]
    time.sleep(seconds)
    last = [cost(run.pid) for run in runs]
    assert [run.poll() for run in runs] == [None] * len(runs), "a run has ended"
    for run in runs:
        run.terminate()
        run.wait()
    print(f"| {ranks} ranks, each of which | of one core |\n| --- | --- |")
    for way, begin, end in zip(WAYS, first, last, strict=True):
        print(f"| {way} | {(end - begin) / seconds:.3%} |")


def started(folder: Path, text: str, ranks: int, after: str) -> subprocess.Popen[bytes]:
    """Launch a script that makes progress in one way."""
    script = folder / f"script{len(list(folder.iterdir()))}.py"
    script.write_text(IMPORTS + THREADS + text)
    flags = ["-q", "--cpu", "--num_processes", str(ranks), "--stall_after", after]
    words = [BIN / "accelerate", "launch", *flags, script]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)


def cost(launcher: int) -> float:
    """Return the seconds of CPU of the launcher, of what it has forked to look on, and of their ended children."""
    found = 0.0
    for pid in (launcher, *children(launcher)):
        name, fields = stat(pid)
        if pid == launcher or name == "accel-watcher":
            found += sum(map(int, fields[11:15])) / TICK  # its own and its collected children's
    return found


def children(pid: int) -> list[int]:
    """Return a process's children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def stat(pid: int) -> tuple[str, list[str]]:
    """Return a process's name and the fields behind it."""
    head, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    return head.partition("(")[2], rest.split()


def gaps(folder: Path) -> dict[str, list[float]]:
    """Return the largest gap in one busy rank beside an idle one, and the largest stop: alone, then with stacks read.

    Both are in seconds.
    """
    found: dict[str, list[float]] = {}
    torch = "import torch\nones = torch.ones(64, 64)\ndef work(): torch.mm(ones, ones)\n"
    for way, flags, work in (
        ("stacks read over and over", [], "def work(): pass\n"),
        ("with --native", ["--native"], "def work(): pass\n"),
        ("with --native, in torch's C++", ["--native"], torch),
    ):
        script = folder / f"gaps{len(found)}.py"
        script.write_text(f"{IMPORTS}if rank == '1': time.sleep(1000)\n{work}{GAPS}")
        words = [BIN / "accelerate", "launch", "-q", "--cpu", "--num_processes", "2", "--grace", "1", script]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            alone = [float(word) for word in run.stdout.readline().split()]
            began, count = time.monotonic(), 0
            while time.monotonic() < began + 18:
                done = subprocess.run(
                    [BIN / "accelerate", "stacks", str(run.pid), "--json", *flags], capture_output=True, check=True
                )
                assert json.loads(done.stdout)["ranks"][0]["process"]["threads"]
                count += 1
            read = [float(word) for word in run.stdout.readline().split()]
            run.terminate()
        found[f"{way}, {count} times in 18 s"] = read
        found[f"alone, before that ({way})"] = alone
    return found


if __name__ == "__main__":
    main()
