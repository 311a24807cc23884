"""Questions whose askers have gone hold up nobody, and leave no thread stopped; real commands and launchers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from accel_config.errors import AccelError
from accel_launch.machine import process_tree
from accel_launch.ranks import system
from accel_launch.running.onlookers.registry import asking, desk, finding
from accel_launch.running.onlookers.registry.folder import SOCKET, Folder
from tests.conftest import BIN, Run
from tests.launch.processes import Script, Start, alive, read_pids, until

pytestmark = pytest.mark.serial
THREADS = """\
import os, threading, time
def deep(number, act):
    return act() if number == 0 else deep(number - 1, act)
def work():
    while True:
        time.sleep(0.01)
for number in range(20):
    threading.Thread(target=deep, args=(number * 5, work), daemon=True).start()
print(os.getpid(), flush=True)
deep(20, lambda: time.sleep(1000))
"""
NATIVE = {"ask": "stacks", "children": True, "native": True}
FORKS = ("accel-desk", "accel-copier", "py-spy")


def up(launched: Start, script: Script, environ: dict[str, str]) -> tuple[subprocess.Popen[str], list[int], Folder]:
    """Start two ranks of many threads."""
    running = launched("-q", "--cpu", "--num_processes", "2", script(THREADS))
    pids = read_pids(running, 2)
    assert until(lambda: finding.running(environ) != [])
    return running, pids, finding.find(str(running.pid), environ).folder


@contextmanager
def asked(folder: Folder, question: Mapping[str, object]) -> Generator[socket.socket]:
    """Ask, and go away in the end."""
    with socket.socket(socket.AF_UNIX) as client:
        system.calls.reach(folder.path, SOCKET, client.connect)
        client.sendall(json.dumps(question).encode() + b"\n")
        yield client


def answering(launcher: int) -> list[int]:
    """Return the forks of a launcher that answer, and whatever they have started."""
    found = psutil.Process(launcher).children(recursive=True)
    names: dict[int, str] = {}
    for one in found:
        try:
            names[one.pid] = one.name()
        except psutil.NoSuchProcess:
            continue
    return [pid for pid, name in names.items() if name.startswith(FORKS)]


def whole(folder: Folder) -> float:
    """Return how long as many questions take as are answered at a time, on this machine as it is now."""
    began = time.monotonic()
    with ExitStack() as askers:
        clients = [askers.enter_context(asked(folder, NATIVE)) for _ in range(desk.MOST)]
        for client in clients:
            assert askers.enter_context(client.makefile("rb")).readline()
    return time.monotonic() - began


def held(pids: list[int]) -> list[str]:
    """Return the threads of processes that are stopped or traced."""
    found: list[str] = []
    for path in (path for pid in pids for path in Path(f"/proc/{pid}/task").iterdir()):
        status = (path / "status").read_text()
        if "TracerPid:\t0\n" not in status or "State:\tT" in status or "State:\tt" in status:
            found.append(str(path))
    return found


def test_who_has_gone_is_answered_no_more(launched: Start, script: Script, environ: dict[str, str]) -> None:
    """And all threads go on, at whatever moment it went."""
    running, pids, folder = up(launched, script, environ)
    took = whole(folder)
    for wait in (0.05, 0.2, 0.35, 0.5, 0.65, 0.8):
        with ExitStack() as askers:
            for _ in range(desk.MOST):
                askers.enter_context(asked(folder, NATIVE))
            assert until(lambda: len(answering(running.pid)) > desk.MOST, 60)
            time.sleep(wait)
        assert until(lambda: not answering(running.pid), took / 2), wait
        assert until(lambda: not held(pids), 5), wait
    assert alive(pids) == pids


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_commands_that_were_aborted_hold_up_no_later_one(
    launched: Start, script: Script, accelerate: Run, environ: dict[str, str], number: int
) -> None:
    running, pids, folder = up(launched, script, environ)
    took = whole(folder)
    words = [BIN / "accelerate", "stacks", "--native", "--all_threads", str(running.pid)]
    null = subprocess.DEVNULL
    commands = [subprocess.Popen(words, env=environ, stdout=null, stderr=null) for _ in range(12)]
    try:
        assert until(lambda: len(answering(running.pid)) > desk.MOST, 60)
        time.sleep(1)  # others wait by now
    finally:
        for popen in commands:
            popen.send_signal(number)
        for popen in commands:
            popen.wait(30)
    assert until(lambda: not answering(running.pid), took / 2)
    assert until(lambda: not held(pids), 5)
    assert accelerate("stacks", str(running.pid)).stdout.startswith("2 of 2 ranks (0-1): script1.py:")


def test_who_only_ended_its_question_is_answered(launched: Start, script: Script, environ: dict[str, str]) -> None:
    _running, _pids, folder = up(launched, script, environ)
    with asked(folder, NATIVE) as client, client.makefile("rb") as answers:
        client.shutdown(socket.SHUT_WR)
        assert json.loads(answers.readline())["ranks"]


def test_a_busy_launcher_is_not_said_to_have_ended(launched: Start, script: Script, environ: dict[str, str]) -> None:
    """Neither where it answers others, nor where so many wait that nobody else can."""
    running, _pids, folder = up(launched, script, environ)
    with socket.socket(socket.AF_UNIX) as one:
        system.calls.reach(folder.path, SOCKET, one.connect)
        others = [socket.socket(socket.AF_UNIX) for _ in range(4 * desk.MOST)]
        full = False
        for other in others:
            other.setblocking(False)
            try:
                system.calls.reach(folder.path, SOCKET, other.connect)
            except BlockingIOError:
                full = True
            time.sleep(0.05)
        assert full
        began = time.monotonic()
        with pytest.raises(AccelError, match=r"doesn't answer within 0\.5 s: it answers others, or this machine"):
            asking.ask(folder, {"ask": "state"}, 0.5)
        assert time.monotonic() - began < 3
        for other in others:
            other.close()
    assert until(lambda: asking.ask(folder, {"ask": "state"}, 5)["launcher"] == running.pid)


def test_why_nothing_comes_is_looked_at_afterwards(
    launched: Start, script: Script, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, _pids, folder = up(launched, script, environ)
    os.kill(running.pid, signal.SIGSTOP)
    assert until(lambda: process_tree.stopped(running.pid))
    looks = iter([False])
    seen = process_tree.stopped

    def late(pid: int) -> bool:
        return next(looks, None) is None and seen(pid)

    monkeypatch.setattr(process_tree, "stopped", late)
    with pytest.raises(AccelError, match=f"is stopped; `kill -CONT {running.pid}` lets it go on"):
        asking.ask(folder, {"ask": "state"}, 0.5)
    os.kill(running.pid, signal.SIGCONT)
    running.kill()
    running.wait(10)
    with pytest.raises(AccelError, match="has ended"):
        asking.ask(folder, {"ask": "state"}, 0.5)
