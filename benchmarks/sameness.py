"""How long ranks of several machines wait because their launchers compare the machines first.

    uv run python benchmarks/sameness.py [--machines 8] [--rounds 5] [--files 100]

Each machine is a network namespace with a process of its own, which has the launcher's side of the lifeline and
nothing else. Needs root. The time is from when the last machine has been welcomed until ranks may start on the last
one. The script imports a package of ``--files`` modules of 4 kB each. Torch's agents, which take seconds to load,
start at the same time as the launchers' connections: in a real run ranks wait for them, and not for the comparison.
"""

from __future__ import annotations

import argparse
import importlib
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from accel_launch.running.lifeline import Lifeline
from accel_launch.running.lifeline.hub.hub import Hub
from accel_launch.running.lifeline.member.member import Member
from accel_launch.running.lifeline.sameness.portrait import portrait
from accel_launch.running.lifeline.sameness.subject import Subject

machines_of_tests: Any = importlib.import_module("tests.launch.machines")

SECRET = b"between the launchers of this benchmark"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side is not None:
        side(given.side, given.machines, given.folder)
        return
    network = machines_of_tests.Network(given.machines)
    network.open()
    try:
        with tempfile.TemporaryDirectory() as folder:
            code(Path(folder), given.files)
            waits = [one_round(network, given.machines, folder) for _round in range(given.rounds)]
    finally:
        network.close()
    print(f"{given.machines} machines, {given.files} modules; load {os.getloadavg()[0]:.1f}")
    print(f"wait of ranks: median {statistics.median(waits):.0f} ms, most {max(waits):.0f} ms")


def code(folder: Path, files: int) -> None:
    """Write a script and its package."""
    (folder / "lib").mkdir()
    for n in range(files):
        (folder / "lib" / f"m{n}.py").write_text("x = 1\n" * 700)
    (folder / "train.py").write_text("import lib.m0\n")


def one_round(network: Any, machines: int, folder: str) -> float:
    """Let all meet once; return the wait in milliseconds."""
    words = [sys.executable, __file__, "--machines", str(machines), "--folder", folder, "--side"]
    made = [
        subprocess.Popen(
            ["ip", "netns", "exec", network.space(n), *words, str(n)],
            env={**os.environ, "NCCL_ALGO": "Ring" if n else "Tree"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(machines)
    ]
    times = [tuple(map(float, (process.communicate()[0] or "0 0").split())) for process in made]
    return (max(free for _met, free in times) - max(met for met, _free in times)) * 1000


def side(machine: int, machines: int, folder: str) -> None:
    """Be one launcher; print when it was welcomed, or had all others, and when ranks could start."""
    subject = Subject(sys.executable, ("train.py",), folder=folder)
    port = int(machines_of_tests.PORT)
    line = Lifeline("10.88.0.1", port, port + 1, machine, machines, machines, "r", subject=subject)
    made: Hub | Member
    if machine:
        made = Member(line, "host", SECRET)
    else:
        made = Hub(line, "host", SECRET)
        made.reception.comparison.own = portrait(subject, SECRET)
    met = 0.0
    beaten = 0.0
    while not made.free:
        poller = select.poll()
        for fd, events in made.wants().items():
            poller.register(fd, events)
        made.handle(dict(poller.poll(50)))
        if time.monotonic() - beaten > line.beat / 2:
            beaten = time.monotonic()
            made.tick()
        known = made.main.host if isinstance(made, Member) else made.missing == ()
        met = met or (time.monotonic() if known else 0.0)
    free = time.monotonic()
    until = free + 1  # the others hear of it
    while time.monotonic() < until:
        made.handle({})
        time.sleep(0.01)
    print(met, free)


if __name__ == "__main__":
    main()
