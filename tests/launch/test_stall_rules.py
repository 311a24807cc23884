"""Rules of what counts as standing still that need more than a script that is quiet: see `docs/hangs.md`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accel_launch.inspecting import kernel
from accel_launch.running.onlookers.stall import activity
from accel_launch.running.onlookers.stall.activity import Counters
from tests.conftest import Run, needs_torch
from tests.launch.processes import Script, Start, read_pids, until
from tests.schedule import sampled

N2 = ("-q", "--cpu", "--num_processes", "2", "--grace", "1")
ME = "import os, sys, threading, time\nrank = int(os.environ['RANK'])\n"
HOLD = ME + "def hold():\n    time.sleep(1000)\nprint(os.getpid(), flush=True)\nhold()\n"
SENDER = """\
import socket, sys, time
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    connection, _ = server.accept()
    while True:
        connection.sendall(bytes(int(sys.argv[1])))
        time.sleep(0.1)
"""
SEIZE = """\
import ctypes, sys, time
assert ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, None) == 0
print(1, flush=True)
time.sleep(100)
"""


def watcher(launcher: int) -> int:
    """Return the pid of a launcher's watcher; 0 if it isn't forked yet."""
    pids = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    found = [int(pid) for pid in pids if Path(f"/proc/{pid}/comm").read_text() == "accel-watcher\n"]
    return found[0] if found else 0


@pytest.mark.parametrize(
    ("used", "waited", "computes"), [(0.5, 0.0, True), (0.05, 0.9, True), (0.002, 0.9, False), (0.002, 0.0, False)]
)
def test_a_thread_that_only_wakes_up_on_a_crowded_machine_does_not_compute(
    monkeypatch: pytest.MonkeyPatch, used: float, waited: float, computes: bool
) -> None:
    """The shares of a second in which it runs, and in which it waits for a core."""
    seen = iter(
        (Counters(1.0, {7: (3.0, 8.0)}, {}, 0.0, 0.0), Counters(2.0, {7: (3.0 + used, 8.0 + waited)}, {}, 0.0, 0.0))
    )

    def counters(_pid: int, _below: list[int]) -> Counters:
        return next(seen)

    monkeypatch.setattr(activity, "_counters", counters)
    meter = activity.Meter(300)
    assert meter.read([7]) == {}
    assert meter.read([7])[7].own == computes


@pytest.mark.exhaustive
@pytest.mark.parametrize(("size", "alive"), sampled([(10_000, True), (100, False)], every=2))
def test_what_sockets_receive_is_progress_but_not_a_heartbeat(
    launched: Start, script: Script, size: int, alive: bool
) -> None:
    """100 kB and 1 kB a second, received by a rank whose stack stays the same."""
    with subprocess.Popen([sys.executable, "-c", SENDER, str(size)], stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        port = sender.stdout.readline().strip()
        text = (
            "import socket\nif rank:\n    time.sleep(1000)\n"
            f"client = socket.create_connection(('127.0.0.1', {port}))\nwhile client.recv(1 << 20): pass\n"
        )
        running = launched(*N2, "--stall_after", "1.5", script(ME + text))
        time.sleep(6)
        running.terminate()
        assert ("standing still" not in running.communicate(timeout=20)[1]) == alive
        sender.kill()


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "piece",
    [
        "subprocess.run([sys.executable, '-c', 'sum(range(8000000))'])",
        "thread = threading.Thread(target=hash)\n    thread.start()\n    thread.join()",
        pytest.param("dist.all_reduce(torch.ones(1))\n    time.sleep(0.2)", marks=needs_torch),
    ],
    ids=["children", "threads", "collectives"],
)
def test_pieces_of_work_that_come_and_go_are_progress(accelerate: Run, script: Script, piece: str) -> None:
    text = (
        "import hashlib, subprocess\ndef hash():\n    end = time.monotonic() + 0.7\n"
        "    while time.monotonic() < end: hashlib.sha256(bytes(1000000))\n"
    )
    if "dist" in piece:
        text += "import torch, torch.distributed as dist\ndist.init_process_group('gloo')\n"
        until_step = "for _ in range(40):"
    else:
        until_step = "end = time.monotonic() + 12\nwhile time.monotonic() < end:"
    done = accelerate(
        "launch", *N2, "--stall_after", "4", script(ME + text + f"{until_step}\n    {piece}\n"), timeout=150
    )
    assert "standing still" not in done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.exhaustive
@needs_torch
def test_asking_torch_s_store_is_no_progress(accelerate: Run, script: Script) -> None:
    text = (
        "import torch.distributed as dist\ndef download():\n    time.sleep(1000)\nif rank == 1: download()\n"
        "dist.init_process_group('gloo')\n"
    )
    done = accelerate("launch", *N2, "--stall_after", "5", "--stall_action", "end", script(ME + text), timeout=150)
    assert "  1 of 2 ranks (1): script1.py:5 download > sleep\n" in done.stderr
    assert done.returncode == 124


@pytest.mark.exhaustive
def test_a_debugger_is_said_as_such_and_never_ended(launched: Start, script: Script, tmp_path: Path) -> None:
    attached = tmp_path / "attached"  # until then the ranks get on, however long a debugger takes to start
    text = (
        ME + "print(os.getpid(), flush=True)\n"
        f"while not os.path.exists({str(attached)!r}):\n    print(flush=True)\n    time.sleep(0.1)\n"
        "time.sleep(1000)\n"
    )
    running = launched(*N2, "--stall_after", "1", "--stall_action", "end", script(text))
    assert running.stdout is not None
    assert running.stderr is not None
    first = next(int(line) for line in iter(running.stdout.readline, "") if line.strip())
    with subprocess.Popen([sys.executable, "-c", SEIZE, str(first)], stdout=subprocess.PIPE) as debugger:
        assert debugger.stdout is not None
        if not debugger.stdout.readline():
            pytest.skip("this system lets nobody debug")
        attached.touch()
        assert "a prompt or under a debugger: not counted as standing still\n" in running.stderr.readline()
        time.sleep(2)
        assert running.poll() is None
        debugger.kill()
    running.terminate()
    assert "standing still for" not in running.communicate(timeout=20)[1]


@pytest.mark.exhaustive
def test_time_in_which_the_machine_slept_isn_t_counted(launched: Start, script: Script) -> None:
    """Nobody could see what moved then, as while the watcher is stopped."""
    running = launched(*N2, "--stall_after", "6", script(HOLD))
    read_pids(running, 2)
    assert until(lambda: bool(watcher(running.pid)))

    def waits() -> bool:  # a stop while it looks can't be told from a look that takes long
        found = kernel.facts(watcher(running.pid))
        return found is not None and found.call in ("poll", "ppoll")

    assert until(waits)
    os.kill(watcher(running.pid), signal.SIGSTOP)
    time.sleep(7)
    os.kill(watcher(running.pid), signal.SIGCONT)
    time.sleep(1.5)
    running.terminate()
    assert "standing still" not in running.communicate(timeout=20)[1]


@pytest.mark.exhaustive
def test_it_is_told_after_one_two_four_and_eight_times(launched: Start, script: Script) -> None:
    running = launched(*N2, "--stall_after", "1", script(HOLD))
    read_pids(running, 2)
    time.sleep(10)
    running.terminate()
    err = running.communicate(timeout=20)[1]
    told = [int(line.split(" for ")[1].split()[0]) for line in err.splitlines() if "standing still for" in line]
    assert len(told) == 4
    assert all(factor <= seconds <= factor + 1 for factor, seconds in zip((1, 2, 4, 8), told, strict=True))


@pytest.mark.exhaustive
@needs_torch
def test_different_collectives_are_told(accelerate: Run, script: Script) -> None:
    text = (
        f"{ME}import torch, torch.distributed as dist\ndist.init_process_group('gloo')\n"
        "dist.barrier() if rank == 0 else dist.all_reduce(torch.ones(1))\n"
    )
    flags = ("-q", "--cpu", "--num_processes", "3", "--grace", "1", "--stall_after", "4", "--stall_action", "end")
    done = accelerate("launch", *flags, script(text))
    assert done.returncode == 124
    assert ": the ranks wait in different collectives\n" in done.stderr
    assert "  1 of 3 ranks (0): script1.py:5 <module> > torch barrier, waiting\n" in done.stderr
