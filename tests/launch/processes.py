"""Real launches that a test signals, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from tests.conftest import BIN

Start = Callable[..., subprocess.Popen[str]]
Script = Callable[..., Path]

# What ranks do in turn, however slow the machine is: a script begins with it, announces itself with `here("name")`
# before it ends, and another rank waits for that, or for the death of the process (which as a zombie is dead).
TURNS = """\
import os, time

def here(name):
    os.symlink(str(os.getpid()), name)

def announced(name):
    while not os.path.lexists(name):
        time.sleep(0.01)
    return os.readlink(name)

def dead(name):
    pid = announced(name)
    try:
        while ") Z " not in open(f"/proc/{pid}/stat").read():
            time.sleep(0.01)
    except OSError:
        pass
"""

# How a script waits that handles the signal which a test sends: one that comes just before a sleep is only handled after
# it, which under load happens once in 600 times.
PAUSE = "for _ in range(600): time.sleep(0.1)\n"


def alive(pids: list[int]) -> list[int]:
    """Those of the processes that still run."""
    found: list[int] = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def gone(pids: list[int], within: float = 5.0) -> bool:
    """Whether all of the processes end within this time."""
    return until(lambda: not alive(pids), within)


def until(true: Callable[[], bool], within: float = 10.0) -> bool:
    """Wait for something to become true."""
    end = time.monotonic() + within
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def guardian_of(launcher: int) -> psutil.Process:
    """The process that starts and ends the ranks: the launcher's child, or that of a keeper between the two."""
    (found,) = psutil.Process(launcher).children()
    below = [child for child in found.children() if os.getsid(child.pid) == child.pid]
    return below[0] if below else found


def read_pids(popen: subprocess.Popen[str], count: int) -> list[int]:
    """Read the pids that a script's ranks print, one on a line."""
    assert popen.stdout is not None
    return [int(popen.stdout.readline().split()[0]) for _place in range(count)]


def marked(mark: str) -> list[int]:
    """Every process whose environment holds this mark: what a launch started, wherever it went."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                environ = (folder / "environ").read_bytes()
            except OSError:
                continue
            if mark.encode() in environ:
                found.append(int(folder.name))
    return alive(found)


def start(
    words: tuple[object, ...], environ: Mapping[str, str], stdin: int | None = None, new_session: bool = False
) -> subprocess.Popen[str]:
    """Start ``accelerate launch``."""
    return subprocess.Popen(
        [BIN / "accelerate", "launch", *map(str, words)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        start_new_session=new_session,
    )


def close(popen: subprocess.Popen[str]) -> None:
    """End what is left of a launch, and let go of it."""
    if popen.poll() is None:
        popen.send_signal(signal.SIGCONT)
        popen.kill()
        popen.wait(10)
    for stream in (popen.stdin, popen.stdout, popen.stderr):
        if stream is not None:
            stream.close()
