"""Runs that are started again: what each attempt gets, what is left of the one before it, and what ends it all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from statistics import median

import jsonschema
import psutil
import pytest

from accel_launch import Event, launch
from tests.conftest import BIN, ROOT, Run, needs_torch
from tests.launch import smi as smi_program
from tests.launch.processes import PAUSE, TURNS, Script, Start, gone, guardian_of, read_pids, until
from tests.launch.test_terminal import Shown

N2 = ("--cpu", "--num_processes", "2")
COUNT = "import os, signal, subprocess, sys, time\nrank, count = os.environ['RANK'], int(os.environ['TORCHELASTIC_RESTART_COUNT'])\n"
FAILS_ONCE = COUNT + "sys.exit(3) if rank == '1' and count == 0 else time.sleep(60 if count == 0 else 0)\n"


def reported(folder: Path) -> dict[str, object]:
    """The report, which keeps to its schema."""
    report = json.loads((folder / "report.json").read_text())
    jsonschema.validate(report, json.loads((ROOT / "docs/report.schema.json").read_text()))
    return report


def test_each_attempt_has_what_torch_promises(accelerate: Run, script: Script, tmp_path: Path) -> None:
    names = ("RESTART_COUNT", "MAX_RESTARTS", "RUN_ID", "ERROR_FILE")
    path = script(
        COUNT
        + f"print(count, rank, os.environ['MASTER_PORT'], *(os.environ['TORCHELASTIC_' + n] for n in {names}))\n"
        "sys.stdout.flush()\n"
        "with open(os.environ['TORCHELASTIC_ERROR_FILE']) as file: assert file.read() == ''\n"
        "if rank == '0' and count < 2:\n"
        "    with open(os.environ['TORCHELASTIC_ERROR_FILE'], 'w') as file:\n"
        '        file.write(\'{"message": {"message": "ValueError: told %d"}}\' % count)\n'
        "    sys.exit(1)\n"
        "count < 2 and time.sleep(60)\n"
    )
    done = accelerate(
        "launch",
        *N2,
        "--restart_policy",
        "always",
        "--max_restarts",
        "3",
        "--report",
        "report.json",
        "--monitor_interval",
        "5",
        path,
    )
    assert done.returncode == 0, done.stderr
    told = [line.split() for line in done.stdout.splitlines()]
    assert {tuple(words[:2]) for words in told} >= {("0", "0"), ("1", "0"), ("2", "0"), ("2", "1")}
    ports = {words[0]: words[2] for words in told}
    assert len(set(ports.values())) == 3
    assert {tuple(words[3:6]) for words in told} == {(number, "3", "none") for number in ports}
    restarts = [line for line in done.stderr.splitlines() if line.startswith("accel: attempt")]
    for number, line in enumerate(restarts):
        assert line.startswith(f"accel: attempt {number}: rank 0: ValueError: told {number}; ")
        assert line.endswith(f" s lost; restart {number + 1} of 3")
    assert len(restarts) == 2
    assert "monitor_interval" not in done.stderr
    report = reported(tmp_path)
    attempts = report["attempts"]
    assert isinstance(attempts, list)
    assert [(one["number"], one["status"], one["cause"]) for one in attempts] == [
        (0, 1, "rank 0: ValueError: told 0"),
        (1, 1, "rank 0: ValueError: told 1"),
        (2, 0, ""),
    ]
    assert all(one["began"] < one["ended"] for one in attempts)
    assert [one["progress"] > 0 for one in attempts] == [False, False, True]
    assert isinstance(report["progress"], float)
    assert 0 < report["progress"] < 1
    assert f"accel: 3 attempts; {report['progress']:.0%} of" in done.stderr
    assert len(report["earlier_attempts"]) == 2  # pyright: ignore[reportArgumentType]


def test_a_port_that_is_named_stays_where_it_is_free(accelerate: Run, script: Script) -> None:
    """A process that an attempt leaves behind on purpose may listen at it."""
    from accel_launch.machine.probe import Ports

    ports = Ports()
    port = str(ports.free())
    del ports
    path = script(
        COUNT + "print(os.environ['MASTER_PORT'], flush=True)\n"
        "if count == 1:\n"
        "    code = 'import socket, time; s = socket.create_server((\"\", %s)); print(1, flush=True); time.sleep(60)'\n"
        "    stay = subprocess.Popen([sys.executable, '-c', code % os.environ['MASTER_PORT']], start_new_session=True,\n"
        "        env={**os.environ, 'ACCEL_DAEMON': '1'}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
        "    stay.stdout.readline()\n"
        "    print('left', stay.pid, flush=True)\n"
        "sys.exit(count < 2)\n"
    )
    done = accelerate(
        "launch", "--cpu", "--restart_policy", "always", "--max_restarts", "2", "--main_process_port", port, path
    )
    first, second, left, last = done.stdout.splitlines()
    os.kill(int(left.split()[1]), signal.SIGKILL)
    assert (first, second) == (port, port)
    assert last != port


def test_an_attempt_is_gone_before_the_next_begins(accelerate: Run, script: Script, tmp_path: Path) -> None:
    """Neither its children nor what they print are there any more."""
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    path = script(
        COUNT
        + f"left = subprocess.Popen([sys.executable, '-c', {deaf!r}], start_new_session=True, stdout=subprocess.PIPE)\n"
        "left.stdout.readline()\n"
        "os.write(1, b'%d of attempt %d, unfinished' % (int(rank), count))\n"
        "open(f'pid-{count}-{rank}', 'w').write(f'{os.getpid()} {left.pid}')\n"
        "while len([n for n in os.listdir('.') if n.startswith(f'pid-{count}')]) < 2: time.sleep(0.01)\n"
        "for n in os.listdir('.'):\n"
        "    for pid in open(n).read().split() if n.startswith('pid') and not n.startswith(f'pid-{count}') else ():\n"
        "        assert not os.path.exists(f'/proc/{pid}'), n\n"
        "if count == 2: left.kill()\n"
        "sys.exit(count < 2 and rank == '0')\n"
    )
    words = (
        "launch",
        "-q",
        *N2,
        "--restart_policy",
        "always",
        "--max_restarts",
        "2",
        "--grace",
        "0.3",
        "--prefix",
        str(path),
    )
    done = accelerate(*words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(" of attempt ")[1][0] for line in lines] == ["0", "0", "1", "1", "2", "2"]
    assert not [line for line in done.stderr.splitlines() if not line.startswith("accel: ")], done.stderr


@pytest.mark.exhaustive
def test_no_output_of_an_attempt_is_lost_or_late(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    """Though the reader is slow, and a daemon holds the pipe."""
    path = script(
        COUNT + "if rank == '1': sys.exit()\n"
        "if count < 2: subprocess.Popen(['sleep', '3'], start_new_session=True, env={**os.environ, 'ACCEL_DAEMON': '1'})\n"
        "for number in range(30000): print(count, number, 'x' * 60)\n"
        "sys.exit(count < 2)\n"
    )
    words = [BIN / "accelerate", "launch", "-q", *N2, "--restart_policy", "always", "--max_restarts", "2", path]
    with subprocess.Popen(
        words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
    ) as run:
        assert run.stdout is not None
        time.sleep(1)
        lines = run.stdout.read().splitlines()
    assert run.returncode == 0
    rest = [line for line in lines if not line.startswith("accel: ")]
    assert [line.rpartition(" ")[0] for line in rest] == [f"{count} {n}" for count in range(3) for n in range(30000)]
    restarts = [place for place, line in enumerate(lines) if line.startswith("accel: attempt")]
    assert restarts == [30000, 60001]


# What ends it all.


def test_the_last_attempts_status_counts(accelerate: Run, script: Script, tmp_path: Path) -> None:
    done = accelerate(
        "launch",
        *N2,
        "--restart_policy",
        "always",
        "--max_restarts",
        "2",
        "--report",
        "report.json",
        script(COUNT + "sys.exit(3 + count)\n"),
    )
    assert done.returncode == 5
    assert "  cause: exit status 5\n" in done.stderr
    assert "  all 2 restarts are used: not started again\n" in done.stderr
    report = reported(tmp_path)
    assert report["status"] == 5
    assert report["not_again"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_run(launched: Start, script: Script, number: int) -> None:
    """It isn't tried again what a signal has ended, whether ranks end well, badly or by it."""
    path = script(
        COUNT + f"signal.signal({int(number)}, lambda *_: os._exit(int(rank)))\n"
        "print(os.getpid(), count, flush=True)\nif rank == '0' and count == 0: sys.exit(9)\n" + PAUSE
    )
    running = launched(*N2, "--restart_policy", "always", "--max_restarts", "5", path)
    assert running.stdout is not None
    while " 1" not in (line := running.stdout.readline()):
        assert line
    if running.stdout.readline().split()[1:] == ["1"]:
        running.send_signal(number)
    assert running.wait(10) == -number
    assert running.stderr is not None
    assert running.stderr.read().count("accel: attempt") == 1


def test_a_signal_while_a_failed_attempt_ends(launched: Start, script: Script) -> None:
    """The run would have been started again, so the signal ended it."""
    path = script(
        COUNT + "if rank == '1':\n"
        "    while not os.path.exists(sys.argv[1]): time.sleep(0.01)\n    sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('told', flush=True))\n"
        "open(sys.argv[1], 'w').close()\n"
        "while True: time.sleep(1)\n"
    )
    running = launched(*N2, "--restart_policy", "always", "--max_restarts", "3", path, path.with_suffix(".ready"))
    assert running.stdout is not None
    assert running.stdout.readline() == "told\n"
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGINT)
    _out, err = running.communicate(timeout=20)
    assert running.returncode == -signal.SIGINT, err
    assert "accel: attempt 0: rank 1: exit status 7; " in err
    assert "not started again: SIGINT\n" in err


LATER = """
import sys
from accel_launch import Command, Plan
from accel_launch.planning.types import Restarting
from accel_launch.running import supervisor
from accel_launch.running.restarting import judge
from accel_launch.running.process import leave
judge.Judge.after = lambda self, attempt: judge.Verdict(attempt.number < 3, {delay}, "a port is taken")
ranks = [Command(("sh", "-c", sys.argv[1], str(rank)), {{}}, rank=rank, local_rank=rank) for rank in range(2)]
plan = Plan("local", tuple(ranks), grace=1, restarting=Restarting(3), devices={devices})
result = supervisor.supervise(plan)
print([attempt.status for attempt in result.attempts], result.status, flush=True)
sys.exit(leave(result))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_wait_at_once(environ: dict[str, str], number: int) -> None:
    words = [sys.executable, "-c", LATER.format(delay=50, devices=()), "exit 4"]
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert "accel: attempt 0: a port is taken; " in (line := running.stderr.readline())
        assert line.endswith("restart 1 of 3 in 50 s\n")
        time.sleep(0.2)
        sent = time.monotonic()
        running.send_signal(number)
        out, _err = running.communicate(timeout=10)
    assert time.monotonic() - sent < 2
    assert (running.returncode, out) == (-number, f"[4] {128 + number}\n")


def test_a_wait_lasts_as_long_as_it_should(environ: dict[str, str]) -> None:
    begun = time.monotonic()
    words = [sys.executable, "-c", LATER.format(delay=0.4, devices=()), "exit 4"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (4, "[4, 4, 4, 4] 4\n"), done.stderr
    assert time.monotonic() - begun > 1.2


def test_nothing_starts_again_once_the_reader_is_gone(
    environ: dict[str, str], script: Script, tmp_path: Path
) -> None:
    path = script(
        COUNT + "open(f'ran-{count}', 'w').close()\nos.write(1, b'x' * 100)\ntime.sleep(0.2)\nsys.exit(1)\n"
    )
    words = [BIN / "accelerate", "launch", *N2, "--restart_policy", "always", "--max_restarts", "3", path]
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path) as run:
        assert run.stdout is not None
        run.stdout.close()
    assert run.returncode == 141
    assert not (tmp_path / "ran-1").exists()


def test_a_killed_guardian_ends_the_run(launched: Start, script: Script) -> None:
    running = launched(
        *N2,
        "--restart_policy",
        "always",
        "--max_restarts",
        "3",
        script(COUNT + "print(os.getpid(), flush=True)\ntime.sleep(60)\n"),
    )
    ranks = read_pids(running, 2)
    guardian = guardian_of(running.pid)
    guardian.kill()
    assert running.wait(10) == 137
    assert gone(ranks, 1)


def test_a_killed_launcher_takes_a_later_attempt_with_it(launched: Start, script: Script) -> None:
    path = script(COUNT + "if count < 2: sys.exit(1)\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    running = launched(*N2, "--restart_policy", "always", "--max_restarts", "3", path)
    ranks = read_pids(running, 2)
    running.kill()
    assert gone(ranks)


def test_standing_still_leads_to_another_attempt(accelerate: Run, script: Script, tmp_path: Path) -> None:
    path = script(COUNT + "count == 0 and signal.pause()\n")
    flags = ("--stall_after", "1", "--stall_action", "end", "--grace", "1", "--report", "report.json")
    done = accelerate("launch", *N2, "--restart_policy", "always", "--max_restarts", "1", *flags, path)
    assert done.returncode == 0, done.stderr
    report = reported(tmp_path)
    assert isinstance(report["attempts"], list)
    assert [one["status"] for one in report["attempts"]] == [124, 0]
    alike = "standing still for 1 s: all ranks are in the same place: ranks 0-1: "
    assert report["attempts"][0]["cause"].startswith(alike)
    assert f"accel: attempt 0: {alike}" in done.stderr
    assert len(report["stalls"]) == 1  # pyright: ignore[reportArgumentType]


def test_consequences_are_folded_in_each_attempt(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    path = script(
        TURNS + COUNT + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "here(f'attempt {count} of rank {rank}')\n"
        "if count == 2: sys.exit()\n"
        "announced(f'attempt {count} of rank 1') if rank == '0' else dead(f'attempt {count} of rank 0')\n"
        "time.sleep(int(rank))\n"  # the launcher learns of a death a moment after others may see it
        "raise [ValueError('cause'), ConnectionError('lost')][int(rank)]\n"
    )
    shown = Shown(environ, *N2, "--restart_policy", "always", "--max_restarts", "2", path, cwd=tmp_path).end()
    assert shown.count("Traceback") == 2
    assert shown.count("rank 1 also raised ConnectionError: lost") == 2
    assert shown.count("accel: attempt") == 2


def test_what_cannot_be_started_again_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    """The log folder is gone: the failure stays what it was, and the problem has its line."""
    code = LATER.format(delay=0, devices=()).replace(
        "grace=1,", "grace=1, display=Display(log_dir=sys.argv[2], kept=(3, 3)),"
    )
    code = code.replace("Restarting\n", "Restarting, Display\n", 1)
    words = [
        sys.executable,
        "-c",
        code,
        f"sleep 0.2; mkdir {tmp_path}/first || sleep 9; rm -rf {tmp_path}/logs; touch {tmp_path}/logs; exit 4",
        tmp_path / "logs",
    ]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (4, "[4] 4\n"), done.stderr
    assert "Traceback" not in done.stderr


# From Python.


def test_events_and_the_result_from_python(script: Script) -> None:
    events: list[Event] = []
    result = launch(
        script(FAILS_ONCE), cpu=True, num_processes=2, restart_policy="always", max_restarts=2, on_event=events.append
    )
    assert result.status == 0
    assert [one.status for one in result.attempts] == [3, 0]
    assert result.attempts[0].cause == "rank 1: exit status 3"
    assert [ending.rank for ending in result.earlier[0]] == [1, 0]
    ended = [event.attempt for event in events if event.kind == "attempt"]
    assert tuple(ended) == result.attempts
    assert [event.kind for event in events[:5]] == ["started", "started", "ended", "ended", "attempt"]


def returning(folder: str) -> int:
    """A function that fails on rank 1 in the first attempt."""
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        if os.environ["RANK"] == "1":
            while not (Path(folder) / "0").exists():
                time.sleep(0.01)
            raise ValueError("once")
        (Path(folder) / "0").touch()
        return 7
    if os.environ["RANK"] == "0":
        sys.exit(0)
    return 8


def test_a_function_returns_what_its_last_attempt_does(tmp_path: Path) -> None:
    assert launch(
        returning, args=(str(tmp_path),), cpu=True, num_processes=2, restart_policy="always", max_restarts=1
    ) == [None, 8]


def test_a_cancelled_run_is_not_started_again(script: Script) -> None:
    path = script(COUNT + "signal.signal(signal.SIGTERM, lambda *_: os._exit(1))\n" + PAUSE)
    result = launch(path, cpu=True, num_processes=2, restart_policy="always", max_restarts=3, timeout=1)
    assert (result.status, len(result.attempts)) == (124, 1)


# Devices.


@pytest.fixture
def smi(tmp_path: Path, environ: dict[str, str]) -> Path:
    """A folder in which a file tells a stand-in of nvidia-smi who holds memory."""
    environ["PATH"] = smi_program.install(tmp_path)
    return tmp_path


def test_a_device_is_free_before_ranks_start_again(environ: dict[str, str], smi: Path) -> None:
    """The rank's own pid is still listed for a second, and a stranger that lives, who is no reason to wait."""
    words = [sys.executable, "-c", LATER.format(delay=0, devices=("GPU 0", "GPU 1"))]
    shell = (
        f"date +%s.%N >> {smi}/began-$0; [ $0 = 1 ] && exit 0; [ -e {smi}/held ] && exit 0;"
        f"echo $$ 1024 > {smi}/held; echo {os.getpid()} 512 >> {smi}/held; exit 5"
    )
    with subprocess.Popen(
        [*words, shell], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert until(lambda: (smi / "asked").exists() and (smi / "asked").read_text().count("asked") > 1)
        freed = time.time()
        (smi / "held").write_text(f"{os.getpid()} 512\n")
        out, err = run.communicate(timeout=20)
    assert (run.returncode, out) == (0, "[5, 0] 0\n"), err
    _first, second = (smi / "began-0").read_text().split()
    assert freed < float(second) < freed + 3
    assert "note" not in err


def test_a_device_that_stays_held_is_told(environ: dict[str, str], smi: Path) -> None:
    code = "from accel_launch.running.attempts import freeing\nfreeing.LIMIT = 3.0\n"
    words = [sys.executable, "-c", code + LATER.format(delay=0, devices=("GPU 0", None))]
    shell = f"[ $0 = 1 ] && exit 0; [ -e {smi}/held ] && exit 0; echo $$ 1024 > {smi}/held; exit 5"
    done = subprocess.run([*words, shell], env=environ, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, "[5, 0] 0\n"), done.stderr
    pid = (smi / "held").read_text().split()[0]
    assert f"accel: note: memory of the devices is still held by pid {pid} (" in done.stderr
    assert "after 3 s; the ranks start anyway\n" in done.stderr


def test_without_devices_no_driver_is_asked(environ: dict[str, str], smi: Path) -> None:
    words = [sys.executable, "-c", LATER.format(delay=0, devices=(None, None)), "exit 4"]
    assert subprocess.run(words, env=environ, capture_output=True, timeout=20).returncode == 4
    assert not (smi / "asked").exists()


def test_a_signal_ends_the_wait_for_a_device(environ: dict[str, str], smi: Path) -> None:
    words = [sys.executable, "-c", LATER.format(delay=0, devices=("GPU 0", None))]
    shell = f"[ $0 = 1 ] && exit 0; echo $$ 1024 > {smi}/held; exit 5"
    with subprocess.Popen(
        [*words, shell], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert until((smi / "asked").exists)
        own = psutil.Process(run.pid).children(recursive=True)
        run.terminate()
        assert run.communicate(timeout=10)[0] == f"[5] {128 + 15}\n"
    assert gone([child.pid for child in own])


def test_amds_driver_has_a_file_for_each_process(tmp_path: Path) -> None:
    from accel_launch.machine import device_memory

    for pid, memory in ((11, "4096"), (12, "0"), (13, "8192")):
        folder = tmp_path / "sys/class/kfd/kfd/proc" / str(pid)
        folder.mkdir(parents=True)
        (folder / "vram_1234").write_text(f"{memory}\n")
    assert device_memory.known(str(tmp_path))
    assert {11} <= device_memory.held({11, 12}, str(tmp_path))
    assert 12 not in device_memory.held({11, 12}, str(tmp_path))


# With torch.

MEETS = (
    COUNT
    + """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
path, start = sys.argv[1], 0
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1))
if os.path.exists(path):
    saved = torch.load(path)
    model.load_state_dict(saved["model"]); start = saved["epoch"]
for epoch in range(start, 6):
    loss = model(torch.ones(4, 2)).sum(); loss.backward()
    if rank == "0":
        torch.save({"model": model.state_dict(), "epoch": epoch + 1}, path + ".part"); os.replace(path + ".part", path)
    dist.barrier()
    if rank == "1" and epoch == 2 * count and count < 2: os.kill(os.getpid(), 9)
print("trained from", start, flush=True)
dist.destroy_process_group()
"""
)


@pytest.mark.serial
def test_new_ranks_are_there_at_once(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    """From the death of a rank to the first line of every new one: three bare starts, and the ranks' own."""
    path = script(
        COUNT + "line = f'{count} {rank} {os.getpid()} {time.monotonic()}\\n'\n"
        "os.write(os.open('lines', os.O_WRONLY | os.O_CREAT | os.O_APPEND), line.encode())\ntime.sleep(60)\n"
    )
    words = [
        BIN / "accelerate",
        "launch",
        "-q",
        "--cpu",
        "--num_processes",
        "2",
        "--restart_policy",
        "always",
        "--max_restarts",
        "20",
        path,
    ]
    starts: list[float] = []
    taken: list[float] = []
    killed = 0.0
    with subprocess.Popen(words, env=environ, cwd=tmp_path, stderr=subprocess.DEVNULL) as run:
        for count in range(9):
            told = [line.split() for line in _whole(tmp_path / "lines", 2 * (count + 1))[-2:]]
            if count:
                taken.append(max(float(line[3]) for line in told) - killed)
            begun = time.monotonic()
            subprocess.run(
                [sys.executable, "-c", "import os, signal, subprocess, sys, time"], env=environ, check=True
            )
            starts.append(time.monotonic() - begun)
            killed = time.monotonic()
            os.kill(next(int(line[2]) for line in told if line[1] == "1"), signal.SIGKILL)
        run.terminate()
    print(sorted(taken), sorted(starts))
    assert median(taken) < 3 * median(starts) + median(starts)


def _whole(path: Path, count: int) -> list[str]:
    """The lines of a file once there are so many."""
    assert until(lambda: path.exists() and path.read_text().count("\n") == count, 20)
    return path.read_text().splitlines()


@needs_torch
@pytest.mark.exhaustive
def test_a_run_on_gloo_resumes_from_its_checkpoint(accelerate: Run, script: Script, tmp_path: Path) -> None:
    done = accelerate(
        "launch",
        *N2,
        "--restart_policy",
        "always",
        "--max_restarts",
        "3",
        script(MEETS),
        tmp_path / "saved.pt",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["trained from 3", "trained from 3"]
    assert done.stderr.count("rank 1: terminated by SIGKILL") == 2


# Nothing is left over.


def at_times(count: Callable[[], int]) -> Generator[int]:
    for _time in range(5):
        yield count()
        time.sleep(0.1)


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_a_thousand_restarts_leave_nothing(environ: dict[str, str], mark: str, tmp_path: Path) -> None:
    path = tmp_path / "count"
    code = f"n=$TORCHELASTIC_RESTART_COUNT; echo $n >> {path}; [ $n = 20 ] && sleep 4; [ $n = 1000 ] && sleep 600; exit 1"
    program = tmp_path / "run.sh"
    program.write_text(f"#!/bin/sh\n{code}\n")
    program.chmod(0o755)
    words = [BIN / "accelerate", "launch", "-q", "--cpu", "--no_python", "--num_processes", "2"]
    with (tmp_path / "err").open("w") as err:
        run = subprocess.Popen(
            [*words, "--restart_policy", "always", "--max_restarts", "1000", program],
            env=environ,
            stderr=err,
            stdout=err,
        )
    launcher = psutil.Process(run.pid)
    found: list[tuple[int, int]] = []
    for number in ("20", "1000"):
        assert until(lambda: path.exists() and path.read_text().split().count(number) == 2, 600)  # noqa: B023
        time.sleep(1)
        fewest = min(at_times(launcher.num_fds))  # now and then it writes its record
        found.append((fewest, launcher.memory_info().rss))
        assert len(launcher.children(recursive=True)) == 1 + 2 * 2  # the guardian, two shells, and what they run
    run.terminate()
    assert run.wait(10) == -signal.SIGTERM
    assert (tmp_path / "err").read_text().count("accel: attempt") == 1000
    assert found[1][0] == found[0][0]
    assert found[1][1] - found[0][1] < 1 << 20, found
    assert sorted(each.name for each in tmp_path.iterdir()) == ["count", "err", "run.sh"]
