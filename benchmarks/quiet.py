"""Whether quiet but healthy runs are left in peace: long-running scripts that print nothing, and move all the same.

    uv run python benchmarks/quiet.py --parallel 2 --results quiet.jsonl

Each runs quietly for ten times `--stall_after`, which is 4 s. From 30 s on stacks are looked at in another way, as
with the default; `--stall_after 30` shows that. Right is that nothing is said about standing still; at a prompt and
under a debugger one line says so. What came of each script is appended to the file of results at once; those that are
in it aren't run again.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

TIMES = 10  # as long as `--stall_after` a script is quiet
COMMON = """
import os, sys, time, threading, subprocess, socket, hashlib, json, random, concurrent.futures
END = time.monotonic() + QUIET
RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
def left(): return time.monotonic() < END
def download():
    code = '''import socket,time,sys
end = time.monotonic() + %f
s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True)
c, _ = s.accept()
while time.monotonic() < end:
    c.sendall(bytes(1 << 16)); time.sleep(0.5)
''' % (END - time.monotonic())
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    c = socket.create_connection(("127.0.0.1", int(server.stdout.readline())))
    while c.recv(1 << 16): pass
"""
GROUP = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
END = time.monotonic() + QUIET
"""
SCRIPTS = Path(__file__).with_name("quiet_scripts")
"""A script a file. The first line has its name, its ranks, and how it is run: alone, gloo, terminal, stopped."""


def scripts(after: float) -> dict[str, tuple[int, str, str]]:
    """Return ranks, way and text of each script, by name."""
    begin = f"QUIET = {TIMES * after}\n{COMMON}"
    found: dict[str, tuple[int, str, str]] = {}
    for path in sorted(SCRIPTS.glob("*.py")):
        first, _, text = path.read_text().partition("\n")
        name, ranks, way = first.removeprefix("# ").split(" | ")
        found[name] = int(ranks.split()[1]), way, begin + (GROUP if way == "gloo" else "") + text
    return found


def run(name: str, script: tuple[int, str, str], folder: Path, after: float) -> tuple[str, str, str]:
    """Run a script; return its name, what was said, and whether that is right."""
    (ranks, way, text), quiet = script, TIMES * after
    place = folder / name.replace(" ", "_").replace("'", "").replace("/", "")
    place.mkdir()
    (place / "quiet.py").write_text(text)
    words = ["--cpu", "--num_processes", ranks, "--stall_after", after, "-q", place / "quiet.py"]
    command = [sys.executable, "-m", "accel_cli", "launch", *map(str, words)]
    if way == "terminal":
        said = _at_terminal(command, place, quiet)
    elif way == "stopped":
        said = _stopped(command, place, quiet)
    else:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=560 + quiet, cwd=place)
        said = done.stderr if done.returncode == 0 else f"status {done.returncode}: {done.stderr[-2000:]}"
    expected = "not counted as standing still" if way == "terminal" else ""
    wrong = "standing still for" in said or "status" in said or (expected and expected not in said)
    return name, said, "WRONG" if wrong else "right"


def _at_terminal(command: list[str], place: Path, quiet: float) -> str:
    """Leave a prompt unanswered; return what was said meanwhile."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        command, cwd=place, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    ) as popen:
        os.close(terminal)
        os.set_blocking(controller, False)
        said, end = b"", time.monotonic() + quiet + 8
        while time.monotonic() < end:
            time.sleep(0.5)
            try:
                said += os.read(controller, 65536)
            except OSError:
                continue
        popen.send_signal(signal.SIGTERM)
        popen.wait(30)
    os.close(controller)
    return said.decode(errors="replace")


def _stopped(command: list[str], place: Path, quiet: float) -> str:
    """Stop a run in its first seconds, for ten times the limit, then let it go on."""
    with subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True, start_new_session=True) as popen:
        time.sleep(3)
        popen.send_signal(signal.SIGTSTP)
        time.sleep(quiet)
        popen.send_signal(signal.SIGCONT)
        time.sleep(quiet / TIMES / 2)
        popen.send_signal(signal.SIGTERM)
        return popen.communicate(timeout=30)[1]


def main() -> int:
    """Run all scripts and print what was said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--stall_after", type=float, default=4.0)
    parser.add_argument("--only", default="", help="Part of a script's name.")
    parser.add_argument("--results", type=Path, help="A file that results are appended to, a line of JSON each.")
    arguments = parser.parse_args()
    results: Path | None = arguments.results
    found: list[list[str]] = []
    if results is not None and results.exists():
        found = [json.loads(line) for line in results.read_text().splitlines()]
    known = {name for name, *_rest in found}
    every = scripts(arguments.stall_after)
    chosen = {name: one for name, one in every.items() if arguments.only in name}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.parallel) as pool:
        running = [
            pool.submit(run, name, one, Path(folder), arguments.stall_after)
            for name, one in chosen.items()
            if name not in known
        ]
        for each in as_completed(running):
            found.append(list(each.result()))
            if results is not None:
                with results.open("a") as file:
                    file.write(json.dumps(found[-1]) + "\n")
    found.sort()
    print("| script | ranks | said |\n| --- | --- | --- |")
    for name, _said, verdict in found:
        print(f"| {name} | {every[name][0]} | {verdict} |")
    for name, said, verdict in found:
        if verdict != "right":
            print(f"\n{name}:\n{said}")
    print(f"\n{sum(verdict == 'right' for *_, verdict in found)} of {len(found)} left in peace")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
