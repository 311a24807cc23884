"""Many launches at once on one machine, without a port given: every rendezvous must succeed.

    uv run python benchmarks/ports.py [--at-once 16] [--rounds 100] [--torch]

Each launch starts two ranks that meet at the port the launcher gave them, and exchange their launch's number.
By default they meet over plain sockets, a moment late, as if they were importing; with --torch over gloo. Meanwhile
other programs take ports as fast as they can.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ACCELERATE = Path(sys.executable).parent / "accelerate"
SOCKETS = """\
import os, random, socket, sys, time
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
time.sleep(random.random() / 2)
if os.environ["RANK"] == "0":
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
        listening.settimeout(30)
        met, _ = listening.accept()
        assert met.recv(100).decode() == sys.argv[1]
        met.sendall(b"right")
else:
    for _ in range(300):
        try:
            met = socket.create_connection(address, timeout=30)
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    met.sendall(sys.argv[1].encode())
    assert met.recv(100) == b"right"
"""
GLOO = """\
import sys, torch, torch.distributed as dist
dist.init_process_group("gloo")
number = torch.tensor([int(sys.argv[1])])
dist.all_reduce(number)
assert number.item() == 2 * int(sys.argv[1])
dist.destroy_process_group()
"""


def main() -> None:
    """Run the rounds and print how many launches met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--torch", action="store_true")
    arguments = parser.parse_args()
    started = time.monotonic()
    good = rounds(arguments.at_once, arguments.rounds, GLOO if arguments.torch else SOCKETS)
    total = arguments.at_once * arguments.rounds
    print(f"{good} of {total} launches met, {time.monotonic() - started:.0f} s")
    sys.exit(good != total)


def rounds(at_once: int, count: int, source: str) -> int:
    """Return how many launches ended well, of ``count`` rounds of ``at_once`` launches under port pressure."""
    pressure = [multiprocessing.Process(target=press, daemon=True) for _ in range(2)]
    for process in pressure:
        process.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / "meet.py"
            script.write_text(source)
            return sum(one_round(at_once, place * at_once, script) for place in range(count))
    finally:
        for process in pressure:
            process.kill()


def one_round(at_once: int, first: int, script: Path) -> int:
    """Start launches at once; return how many ended well."""
    words = [str(ACCELERATE), "launch", "-q", "--cpu", "--num_processes", "2", str(script)]
    launches = [
        subprocess.Popen([*words, str(first + number)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for number in range(at_once)
    ]
    return sum(launch.wait() == 0 for launch in launches)


def press() -> None:
    """Take ports as programs do, by bind(0) and let them go again, hundreds held at a time."""
    held: list[socket.socket] = []
    while True:
        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        held.append(taken)
        if len(held) > 500:
            held.pop(0).close()
        time.sleep(0.0005)


if __name__ == "__main__":
    main()
