"""The launcher's contract, held against real processes: teardown, signals, status, output."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from accel_launch.running import process
from tests.conftest import BIN, Run
from tests.launch.processes import PAUSE, TURNS, Script, Start, alive, gone, guardian_of, marked, read_pids, until

N2 = ("--cpu", "--num_processes", "2")
ME = "import os, signal, subprocess, sys, time\nrank = os.environ.get('RANK', '-')\n"
JUST_BEFORE = """
import select, signal, threading, time
from accel_launch.running.supervising.signal_handling import SignalHandling
class Orders:
    def send(self, number):
        print("handled", number)
signals = SignalHandling(Orders(), lambda: False, lambda: None)
signals.start()
def come():
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
threading.Thread(target=come).start()
began = time.monotonic()
signals.wait(select.poll(), 20)
assert time.monotonic() - began < 15, "it slept on"
"""
SLEEP = ME + "os.write(1, b'%d\\n' % os.getpid())\n" + PAUSE


# Teardown.


def test_a_failure_ends_children_that_left_group_and_session(launched: Start, script: Script) -> None:
    path = script(
        ME
        + "daemon = 'import os, time; os.setsid(); os.fork() and os._exit(0); os.write(1, b\"%d\\\\n\" % os.getpid()); time.sleep(60)'\n"
        "subprocess.run([sys.executable, '-c', daemon])\n"
        "os.write(1, b'%d\\n' % os.getpid())\n"
        "sys.stdin.read() if rank == '0' else time.sleep(60)\n"
        "sys.exit(3)\n"
    )
    reader, writer = os.pipe()
    running = launched(*N2, path, stdin=reader)
    os.close(reader)
    everything = read_pids(running, 4)
    os.close(writer)
    assert running.wait(10) == 3
    assert gone(everything, 0.5)


def test_what_a_successful_script_left_gets_grace_and_is_then_ended(launched: Start, script: Script) -> None:
    path = script(
        ME + "if rank == '0':\n"
        "    quick = subprocess.Popen(['sh', '-c', 'sleep 0.3; echo uploaded'], start_new_session=True)\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    words = ['sh', '-c', 'sleep 1000\\n:']\n"
        "    deaf = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL)\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "    tidy = subprocess.Popen(['sh', '-c', 'trap \"echo tidied; exit\" TERM; sleep 1000 & wait'])\n"
        "    print(deaf.pid, flush=True)\n"
    )
    started = time.monotonic()
    running = launched(*N2, "--grace", "1", path)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 0
    assert out.split()[1:] == ["uploaded", "tidied"]
    assert f"terminated a process that the script left running: sh -c sleep 1000\\n: (pid {out.split()[0]})" in err
    assert 2 <= time.monotonic() - started < 8


def test_what_a_successful_script_left_holds_up_the_end_no_longer_than_it_takes(
    accelerate: Run, script: Script
) -> None:
    path = script(ME + "subprocess.Popen('sleep 0.3; echo uploaded', shell=True, start_new_session=True)\n")
    started = time.monotonic()
    done = accelerate("launch", "-q", *N2, path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "uploaded\n" * 2, "")
    assert time.monotonic() - started < 10


@pytest.mark.exhaustive
def test_a_signal_to_what_a_script_left_begins_the_grace_anew(launched: Start, script: Script) -> None:
    tidy = "trap 'sleep 1.5; echo tidied; exit' TERM; echo left; while :; do sleep 0.01; done"
    running = launched(
        *N2, "--grace", "3", script(ME + f"rank == '0' and subprocess.Popen(['sh', '-c', {tidy!r}])\n")
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "left\n"
    time.sleep(2.2)
    running.terminate()
    assert running.communicate(timeout=10)[0] == "tidied\n"
    assert running.returncode == -signal.SIGTERM


def test_the_launcher_and_its_guardian_killed_at_once_take_the_ranks_along(launched: Start, script: Script) -> None:
    running = launched(*N2, script(SLEEP))
    ranks = read_pids(running, 2)
    launcher = psutil.Process(running.pid)
    guardian = guardian_of(running.pid)
    launcher.suspend()  # so that it can't do anything about it
    guardian.kill()
    assert gone(ranks)
    launcher.kill()


@pytest.mark.exhaustive
def test_nor_do_the_ranks_of_an_engine_outlive_both(launched: Start, script: Script) -> None:
    pytest.importorskip("torch")
    running = launched(*N2, "--engine", "torchrun", script(SLEEP))
    ranks = read_pids(running, 2)
    launcher = psutil.Process(running.pid)
    guardian = guardian_of(running.pid)
    launcher.suspend()
    guardian.kill()
    assert not gone(ranks, within=1)  # the launcher would end them, if it could
    launcher.kill()
    assert gone(ranks)


def test_the_guardian_minds_no_signal(launched: Start, script: Script) -> None:
    """A system that ends a whole group of processes gives it the signal as well."""
    running = launched(*N2, script(ME + "os.write(1, b'%d\\n' % os.getpid())\ntime.sleep(1)\n"))
    read_pids(running, 2)
    guardian = guardian_of(running.pid)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTSTP):
        guardian.send_signal(number)
    assert running.wait(10) == 0


@pytest.mark.parametrize("grace", ["30", "1e10"])
def test_when_a_rank_fails_the_others_are_asked_to_end_and_get_the_grace(
    accelerate: Run, script: Script, grace: str
) -> None:
    path = script(
        ME + "def finish(*_):\n    time.sleep(0.5)\n    print('saved', flush=True)\n    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, finish)\n"
        "signal.signal(signal.SIGCONT, lambda *_: print('not stopped'))\n"
        "open(f'up{rank}', 'w').close()\n"
        "while not os.path.exists('up0'): time.sleep(0.01)\n"
        "sys.exit(3) if rank == '1' else time.sleep(60)\n"
    )
    done = accelerate("launch", *N2, "--grace", grace, path)
    assert (done.returncode, done.stdout) == (3, "saved\n")


def test_nothing_of_ours_is_busy_while_ranks_run(launched: Start, script: Script) -> None:
    running = launched(*N2, script(ME + "os.write(1, b'%d\\n' % os.getpid())\nrank == '0' or time.sleep(60)\n"))
    ranks = read_pids(running, 2)
    assert until(lambda: len(alive(ranks)) == 1)
    launcher = psutil.Process(running.pid)
    ours = [launcher, *launcher.children()]
    before = [sum(process.cpu_times()[:2]) for process in ours]
    time.sleep(1)
    used = [sum(process.cpu_times()[:2]) - was for process, was in zip(ours, before, strict=True)]
    assert max(used) < 0.15
    running.terminate()
    assert running.wait(10) == -signal.SIGTERM


def test_a_stopped_rank_is_ended_too(launched: Start, script: Script) -> None:
    path = script(
        ME + "left = 'import os, time; os.write(1, b\"%d\\\\n\" % os.getpid()); os.kill(os.getpid(), 19)'\n"
        "rank == '0' and subprocess.Popen([sys.executable, '-c', left], start_new_session=True)\n"
        "os.write(1, b'%d\\n' % os.getpid())\n"
        "os.kill(os.getpid(), 19) if rank == '0' else time.sleep(60)\n"
    )
    running = launched(*N2, path)
    everything = read_pids(running, 3)
    running.terminate()
    assert running.wait(10) == -signal.SIGTERM
    assert gone(everything)


@pytest.mark.serial
def test_64_ranks_are_gone_within_a_second(launched: Start, script: Script) -> None:
    path = script(
        ME + "os.write(1, b'%d\\n' % os.getpid())\nsys.stdin.read() if rank == '0' else time.sleep(60)\nsys.exit(5)\n"
    )
    reader, writer = os.pipe()
    running = launched("--cpu", "--num_processes", "64", path, stdin=reader)
    os.close(reader)
    ranks = read_pids(running, 64)
    os.close(writer)
    failed = time.monotonic()
    assert running.wait(20) == 5
    assert time.monotonic() - failed < 1
    assert not alive(ranks)


NINE = (
    "import ctypes, fcntl, functools, importlib, os, pkgutil, resource, sys, termios\n"
    "import accel_launch.running\n"
    "for found in pkgutil.walk_packages(accel_launch.running.__path__, 'accel_launch.running.'):\n"
    "    importlib.import_module(found.name)\n"
    "from accel_launch import Plan, Command\n"
    "from accel_launch.running import supervisor, report\n"
    "ranks = [Command(('/bin/sleep', '60' if r else '0'), {}, rank=r, local_rank=r) for r in range(9)]\n"
    "plan = Plan('local', tuple(ranks), grace=1)\n"
)
NO_MORE = "import os, resource\nos.setuid(54321)\nresource.setrlimit(resource.RLIMIT_NPROC, (1, 1))\nos.fork()\n"


def test_a_spawn_that_fails_half_way_ends_those_that_started(environ: dict[str, str], mark: str) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to become a user with a limit of processes")
    if subprocess.run([sys.executable, "-c", NO_MORE], stderr=subprocess.DEVNULL).returncode == 0:
        pytest.skip("this kernel holds no limit of processes (RLIMIT_NPROC)")
    code = NINE + (
        "os.setuid(54321)\n"
        "sys.meta_path.clear()  # the interpreter's files may be somebody's who lets nobody read them\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (5, 5))\n"
        "result = supervisor.supervise(plan)\n"
        "print(result.status, result.failure, result.problems, len(result.endings))\n"
    )
    for _time in range(8):  # ranks may have died by then, or not
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("couldn't be started: the system starts no more processes") == 1
        assert int(done.stdout.split()[-1]) < 8
        assert done.stdout.startswith("1 None ")  # no rank failed: what ended them was the launcher
        assert not marked(mark)


@pytest.mark.parametrize("limit", [8, 20, 40])
def test_too_few_descriptors_start_nothing(environ: dict[str, str], mark: str, limit: int) -> None:
    code = NINE + (
        "from accel_config.errors import AccelError\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
        "try:\n    supervisor.supervise(plan)\nexcept AccelError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=30)
    assert done.stdout == "the ranks' streams: Too many open files; nothing was started\n", done.stderr
    assert not marked(mark)


def test_the_terminal_closing_ends_all(script: Script, environ: dict[str, str], mark: str) -> None:
    pid, master = _at_a_terminal(script(SLEEP), environ)
    seen = b""
    while seen.count(b"\n") < 3:
        seen += os.read(master, 1000)
    assert marked(mark)
    os.close(master)
    _pid, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGHUP
    assert until(lambda: not marked(mark), 5)


def _at_a_terminal(path: Path, environ: dict[str, str]) -> tuple[int, int]:
    """Launch two ranks from a terminal of their own; return the launcher's pid and the terminal's other end."""
    master, slave = pty.openpty()
    pid = os.fork()
    if pid == 0:
        os.close(master)
        os.login_tty(slave) if hasattr(os, "login_tty") else _own(slave)
        os.execve(BIN / "accelerate", ["accelerate", "launch", *N2, str(path)], environ)
    os.close(slave)
    return pid, master


def _rest(master: int) -> bytes:
    """Return what is still to be read of a terminal whose users are gone."""
    seen = b""
    try:
        while data := os.read(master, 1000):
            seen += data
    except OSError:
        os.close(master)
    return seen


def _own(slave: int) -> None:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(slave, fd)


# Signals.


@pytest.mark.parametrize("number", [1, 2, 3, 10, 12, 15, 18])
def test_each_signal_reaches_every_rank_as_what_it_is(launched: Start, script: Script, number: int) -> None:
    path = script(
        ME + "signal.signal(int(sys.argv[1]), lambda n, _f: (print('got', n, flush=True), os._exit(0)))\n"
        "os.write(1, b'%d\\n' % os.getpid())\n"
        "for _ in range(600): time.sleep(0.1)\n"
    )
    running = launched(*N2, path, number)
    read_pids(running, 2)
    running.send_signal(number)
    out, _err = running.communicate(timeout=10)
    assert out.split() == ["got", str(number)] * 2
    assert running.returncode == (-number if number in (1, 2, 3, 15) else 0)


def test_a_signal_that_comes_just_before_the_launcher_sleeps_wakes_it() -> None:
    """Python has no look for it then, as if another thread had got it."""
    done = subprocess.run([sys.executable, "-c", JUST_BEFORE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "handled 10\n"), done.stderr


@pytest.mark.timeout(30)
def test_signals_that_come_at_once_all_arrive(launched: Start, script: Script) -> None:
    path = script(
        ME + "for n in (10, 12): signal.signal(n, lambda n, _f: os.write(1, b'got %d\\n' % n))\n"
        "os.write(1, b'%d\\n' % os.getpid())\n"
        "while True: time.sleep(0.01)\n"
    )
    running = launched(*N2, path)
    read_pids(running, 2)
    assert running.stdout is not None
    guardian = guardian_of(running.pid)
    guardian.suspend()
    running.send_signal(signal.SIGUSR1)
    time.sleep(0.1)
    running.send_signal(signal.SIGUSR2)
    time.sleep(0.1)
    guardian.resume()
    assert sorted(running.stdout.readline() for _line in range(4)) == ["got 10\n"] * 2 + ["got 12\n"] * 2


def test_a_second_hangup_leaves_ranks_their_grace(launched: Start, script: Script) -> None:
    path = script(
        ME + "signal.signal(signal.SIGHUP, lambda *_: (time.sleep(0.5), print('saved', flush=True), os._exit(0)))\n"
        "os.write(1, b'%d\\n' % os.getpid())\n" + PAUSE
    )
    running = launched(*N2, path)
    read_pids(running, 2)
    running.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    running.send_signal(signal.SIGHUP)
    assert running.communicate(timeout=10)[0].split() == ["saved"] * 2
    assert running.returncode == -signal.SIGHUP


def test_at_a_terminal_rank_0_reads_and_an_interrupt_comes_once(
    script: Script, environ: dict[str, str], mark: str
) -> None:
    path = script(
        ME + "signal.signal(signal.SIGINT, lambda *_: (print('got', flush=True), time.sleep(0.3), os._exit(0)))\n"
        "print('read', input('more? ') if rank == '0' else 'nothing', flush=True)\n" + PAUSE
    )
    pid, master = _at_a_terminal(path, environ)
    seen = read_until(master, b"more? ")
    os.write(master, b"typed\n")
    seen += read_until(master, b"read typed\r\n")
    if b"read nothing" not in seen:
        read_until(master, b"read nothing")
    os.write(master, b"\x03")
    _pid, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGINT
    assert _rest(master).count(b"got") == 2
    assert until(lambda: not marked(mark), 5)


def test_tstp_stops_ranks_and_launcher_and_cont_wakes_both(launched: Start, script: Script) -> None:
    path = script(
        ME + "child = subprocess.Popen(['sleep', '60'])\n"
        "os.write(1, b'%d\\n%d\\n' % (os.getpid(), child.pid))\n"
        "while True: time.sleep(0.01)\n"
    )
    running = launched(*N2, path)
    everyone = [psutil.Process(pid) for pid in (running.pid, *read_pids(running, 4))]
    running.send_signal(signal.SIGTSTP)
    assert until(lambda: all(process.status() == psutil.STATUS_STOPPED for process in everyone))
    running.send_signal(signal.SIGCONT)
    assert until(lambda: all(process.status() != psutil.STATUS_STOPPED for process in everyone))
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == -signal.SIGINT


def test_nohup_keeps_an_ignored_hangup_ignored_for_ranks_too(environ: dict[str, str], script: Script) -> None:
    path = script(ME + "print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, flush=True)\ntime.sleep(0.5)\n")
    with subprocess.Popen(
        ["nohup", BIN / "accelerate", "launch", *N2, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"True\n"
        running.send_signal(signal.SIGHUP)
        running.communicate(timeout=10)
    assert running.returncode == 0


@pytest.mark.parametrize("flags", [[], ["--prefix"]], ids=["become", "supervised"])
def test_signals_are_as_found_for_a_rank(accelerate: Run, tmp_path: Path, flags: list[str]) -> None:
    probe = tmp_path / "probe"
    probe.write_text("#!/bin/sh\nexec grep SigIgn /proc/self/status\n")
    probe.chmod(0o755)
    bare = subprocess.run([probe], capture_output=True, text=True).stdout
    ours = accelerate("launch", "--cpu", "--num_processes", "1", *flags, "--no_python", "./probe").stdout
    assert ours.removeprefix("[0] ") == bare
    assert bare.startswith("SigIgn:")


def test_as_pid_1_a_signal_is_an_exit_status(environ: dict[str, str], script: Script) -> None:
    probe = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"no pid namespace can be made here: {probe.stderr.strip()}")
    with subprocess.Popen(
        [
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            BIN / "accelerate",
            "launch",
            *N2,
            script(SLEEP),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    ) as running:
        read_pids(running, 2)
        (first,) = psutil.Process(running.pid).children()
        first.send_signal(signal.SIGTERM)
        assert running.wait(10) == 143


# Exit status.


def test_the_first_death_counts_not_the_lowest_rank(accelerate: Run, script: Script) -> None:
    path = script(
        TURNS + ME + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "here(f'{rank} is up')\nfor one in range(3):\n    announced(f'{one} is up')\n"
        "if rank != '2': dead(f'rank {int(rank) + 1}')\n"
        "here(f'rank {rank}')\nsys.exit(10 + int(rank))\n"
    )
    assert accelerate("launch", "--cpu", "--num_processes", "3", path).returncode == 12


def test_the_first_to_raise_is_named_not_its_victim(accelerate: Run, script: Script) -> None:
    path = script(
        TURNS + ME + "import atexit\n"
        "if rank == '0':\n    atexit.register(lambda: (here('raised'), time.sleep(30)))\n    raise ValueError('cause')\n"
        "announced('raised')\ntime.sleep(0.5)\nraise ConnectionError('victim')\n"  # a busy launcher reads late
    )
    done = accelerate("launch", *N2, path)
    assert done.returncode == 1
    assert "accel: rank 0 (local rank 0" in done.stderr, done.stderr
    assert "exception: ValueError: cause" in done.stderr


def test_a_traceback_that_was_caught_names_nobody(accelerate: Run, script: Script) -> None:
    path = script(
        TURNS + ME + "import traceback\n"
        "if rank == '0':\n    try:\n        raise ValueError('caught')\n    except ValueError:\n"
        "        traceback.print_exc()\n    print('retrying', file=sys.stderr, flush=True)\n    here('retrying')\n    time.sleep(60)\n"
        "announced('retrying')\nraise KeyError('real')\n"
    )
    done = accelerate("launch", *N2, path)
    assert "accel: rank 1 (local rank 1" in done.stderr, done.stderr
    assert "exception: KeyError: 'real'" in done.stderr


@pytest.mark.parametrize("end", ["sys.exit(7)", "os.kill(os.getpid(), 11)", "sys.exit('no data in /data')"])
def test_an_exception_that_was_handled_is_not_the_cause(accelerate: Run, script: Script, end: str) -> None:
    path = script(
        ME
        + "import traceback\ntry:\n    raise ValueError('handled')\nexcept ValueError:\n    traceback.print_exc()\n"
        f"for n in range(300):\n    print('step', n, file=sys.stderr)\nif rank == '1':\n    {end}\ntime.sleep(60)\n"
    )
    report = accelerate("launch", *N2, path).stderr.rpartition("accel: rank 1")[2]
    assert "exception:" not in report
    assert "at:" not in report
    assert f"last line: {'no data in /data' if 'data' in end else 'step 299'}\n" in report


def test_the_order_of_deaths_is_known_even_if_the_guardian_was_not_looking(launched: Start, script: Script) -> None:
    path = script(
        ME + "os.write(1, b'%d\\n' % os.getpid())\ntime.sleep(0.6 - 0.2 * int(rank))\nsys.exit(10 + int(rank))\n"
    )
    running = launched("--cpu", "--num_processes", "3", path)
    read_pids(running, 3)
    guardian = guardian_of(running.pid)
    guardian.suspend()
    time.sleep(1.2)
    guardian.resume()
    assert running.wait(10) == 12


def test_a_signal_after_a_failure_does_not_change_the_status(launched: Start, script: Script) -> None:
    path = script(
        ME + "signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'asked\\n'))\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.write(1, b'%d\\n' % os.getpid())\n"
        "if rank == '1':\n    time.sleep(0.3)\n    sys.exit(3)\n"
        "while True: time.sleep(0.1)\n"
    )
    running = launched(*N2, path)
    read_pids(running, 2)
    assert running.stdout is not None
    assert running.stdout.readline() == "asked\n"
    time.sleep(0.2)
    for _time in range(2):
        running.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert running.wait(10) == 3


def test_a_signal_that_ends_nothing_does_not_end_the_launcher_while_it_leaves(
    launched: Start, script: Script
) -> None:
    path = script(
        ME + "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\nos.write(1, b'%d\\n' % os.getpid())\n"
        "time.sleep(1)\nsys.exit(3)\n"
    )
    for _time in range(3):
        running = launched(*N2, path)
        read_pids(running, 2)
        while running.poll() is None:
            running.send_signal(signal.SIGUSR1)
            time.sleep(0.001)
        assert running.returncode == 3


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize(("first", "status"), [("#!/no/such/interpreter", 127), ("neither script nor program", 126)])
def test_a_script_that_cannot_be_executed(
    accelerate: Run, tmp_path: Path, processes: str, first: str, status: int
) -> None:
    broken = tmp_path / "broken"
    broken.write_text(f"{first}\n")
    broken.chmod(0o755)
    done = accelerate("launch", "--cpu", "--num_processes", processes, "--no_python", "./broken")
    assert done.returncode == status
    assert "./broken" in done.stderr
    assert ("can't be started:" if processes == "1" else "couldn't be started: ./broken") in done.stderr
    assert done.stderr.count("couldn't be started") < 2 or "terminated as a result" not in done.stderr
    assert "Traceback" not in done.stderr


def test_no_core_of_ours_is_dumped_at_a_quit(script: Script, environ: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    if not os.WCOREDUMP(_wait(["sh", "-c", "ulimit -c unlimited; kill -QUIT $$"], environ, folder)):
        pytest.skip("no process dumps a core here")
    path = script(ME + "signal.signal(3, lambda *_: os._exit(0))\nos.kill(int(sys.argv[1]), 3)\n" + PAUSE)
    code = f"ulimit -c unlimited; exec {BIN / 'accelerate'} launch {' '.join(N2)} {path} $$"
    status = _wait(["sh", "-c", code], environ, folder)
    assert os.WTERMSIG(status) == signal.SIGQUIT
    assert not os.WCOREDUMP(status)


def _wait(words: list[str], environ: dict[str, str], folder: Path) -> int:
    """Run a command to its end and return the status as the kernel gives it."""
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(words[0], words, environ)
    return os.waitpid(pid, 0)[1]


# Output.


@pytest.mark.exhaustive
def test_a_gigabyte_from_both_ranks_in_bounded_memory(launched: Start, script: Script) -> None:
    path = script(ME + "line = (rank * 999 + '\\n').encode() * 64\nfor _ in range(8000):\n    os.write(1, line)\n")
    running = launched(*N2, path)
    assert running.stdout is not None
    counted = {"0": 0, "1": 0}
    peak = 0
    time.sleep(1)  # a slow reader: everything has to wait
    launcher = psutil.Process(running.pid)
    for number, line in enumerate(running.stdout):
        text = line.rstrip("\n")
        assert text in ("0" * 999, "1" * 999), "a torn line"
        counted[text[0]] += 1
        if number % 100_000 == 0:
            peak = max(peak, launcher.memory_info().rss)
    assert running.wait(10) == 0
    assert counted == {"0": 512_000, "1": 512_000}
    assert peak < 30_000_000


@pytest.mark.parametrize("slow", [False, True], ids=["", "slow reader"])
@pytest.mark.parametrize("flags", [(), pytest.param(("--prefix",), marks=pytest.mark.exhaustive)], ids=["", "prefix"])
def test_lines_of_megabytes_from_all_ranks_stay_whole(
    launched: Start, script: Script, flags: tuple[str, ...], slow: bool
) -> None:
    path = script(ME + "for n in range(12):\n    print(rank * 2_000_000)\n    print(rank, 'err', file=sys.stderr)\n")
    running = launched("-q", "--cpu", "--num_processes", "3", *flags, path)
    assert running.stdout is not None
    launcher = psutil.Process(running.pid)
    found: dict[str, int] = {}
    peak = 0
    for line in running.stdout:
        rank = line[1] if flags else line[0]
        assert line == (f"[{rank}] " if flags else "") + rank * 2_000_000 + "\n", f"torn: {len(line)}"
        found[rank] = found.get(rank, 0) + 1
        peak = max(peak, launcher.memory_info().rss if launcher.is_running() and found else 0)
        time.sleep(0.7 if slow and sum(found.values()) in (1, 5) else 0)
    assert found == {"0": 12, "1": 12, "2": 12}
    assert running.wait(10) == 0
    assert peak < 40_000_000


def test_lines_stay_whole_where_output_and_error_are_one_pipe(environ: dict[str, str], script: Script) -> None:
    path = script(
        ME + "for _ in range(300):\n    os.write(1, b'o' * 5000 + b'\\n')\n    os.write(2, b'e' * 5000 + b'\\n')\n"
    )
    done = subprocess.run(
        [BIN / "accelerate", "launch", "-q", *N2, path],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )
    assert sorted(set(done.stdout.splitlines())) == ["e" * 5000, "o" * 5000]
    assert len(done.stdout.splitlines()) == 1200


@pytest.mark.serial
def test_beginnings_of_lines_and_carriage_returns_are_passed_on(launched: Start, script: Script) -> None:
    running = launched(
        "--cpu", "--num_processes", "2", script(ME + "rank == '0' and os.write(1, b'50%\\r100%? ')\ntime.sleep(3)\n")
    )
    assert running.stdout is not None
    assert read_until(running.stdout.fileno(), b"? ", within=2) == b"50%\r100%? "


@pytest.mark.serial
def test_a_line_begun_is_finished_before_another_ranks_line(launched: Start, script: Script) -> None:
    path = script(
        ME + "if rank == '0':\n"
        "    os.write(1, b'begun '); time.sleep(0.3); os.write(1, b'and ended\\n')\n"
        "else:\n"
        "    time.sleep(0.2); os.write(1, b'other\\n')\n"
    )
    out, _err = launched(*N2, path).communicate(timeout=10)
    assert out == "begun and ended\nother\n"


@pytest.mark.serial
def test_a_line_that_stays_open_holds_the_others_up_only_so_long(launched: Start, script: Script) -> None:
    path = script(
        ME + "if rank == '0':\n"
        "    os.write(1, b'more? '); time.sleep(3)\n"
        "else:\n"
        "    time.sleep(0.2); os.write(1, b'other\\n')\n"
    )
    running = launched(*N2, path)
    assert running.stdout is not None
    assert read_until(running.stdout.fileno(), b"other\n", within=2) == b"more? \nother\n"


def test_a_grandchild_that_holds_the_pipe_does_not_hold_up_the_end(accelerate: Run, script: Script) -> None:
    started = time.monotonic()
    done = accelerate(
        "launch", *N2, "--grace", "0.2", script(ME + "subprocess.Popen(['sleep', '100'])\nprint('x' * 10)\n")
    )
    assert done.returncode == 0
    assert done.stdout == ("x" * 10 + "\n") * 2
    assert time.monotonic() - started < 5


@pytest.mark.exhaustive
def test_a_stranger_that_holds_a_stream_does_not_hold_up_the_end(launched: Start, script: Script) -> None:
    running = launched(*N2, script(ME + "os.write(1, b'%d\\n' % os.getpid())\ntime.sleep(0.5)\n"))
    ranks = read_pids(running, 2)
    held = [os.open(f"/proc/{pid}/fd/1", os.O_WRONLY) for pid in ranks]
    assert running.wait(10) == 0
    for fd in held:
        os.close(fd)


# More than the launcher holds for a reader; the rest waits in the ranks' pipes.
LOUD = ME + "for _ in range(570): os.write(1, b'x' * 999 + b'\\n')\nos.write(2, b'%d\\n' % os.getpid())\n"


@pytest.mark.exhaustive
def test_a_slow_reader_gets_every_line(launched: Start, script: Script) -> None:
    running = launched("-q", *N2, script(LOUD))
    assert running.stdout is not None
    assert running.stderr is not None
    assert gone([int(running.stderr.readline()) for _rank in range(2)])
    launcher = psutil.Process(running.pid)
    used = sum(launcher.cpu_times()[:2])
    time.sleep(2.5)
    assert sum(launcher.cpu_times()[:2]) - used < 0.2, "the launcher was busy while it had to wait"
    assert sum(len(line) == 1000 for line in running.stdout) == 1140
    assert running.wait(10) == 0


@pytest.mark.exhaustive
def test_a_reader_that_reads_no_more_holds_up_no_interrupt(launched: Start, script: Script) -> None:
    running = launched("-q", *N2, script(LOUD))
    assert running.stderr is not None
    assert gone([int(running.stderr.readline()) for _rank in range(2)])
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == -signal.SIGINT


FILLED = (
    ME
    + """
os.mkdir(f'begun{rank}')
while not os.path.exists('filled'): time.sleep(0.01)
"""
)


@pytest.mark.parametrize(
    ("code", "signals"),
    [
        ("sys.exit(3)", 1),  # the ranks have ended, and the report can't be printed
        ("time.sleep(60)", 2),
        ("print('loud', file=sys.stderr, flush=True)\ntime.sleep(60)", 1),
    ],
    ids=["ended", "silent", "talking"],
)
def test_an_error_stream_that_nobody_reads_holds_up_no_signal(
    environ: dict[str, str], script: Script, tmp_path: Path, code: str, signals: int
) -> None:
    reader, writer = os.pipe()
    words = [BIN / "accelerate", "launch", *N2, "--report", tmp_path / "report.json", script(FILLED + code)]
    with subprocess.Popen(words, env=environ, cwd=tmp_path, stderr=writer) as running:
        assert until(lambda: len(list(tmp_path.glob("begun?"))) == 2)
        filling = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
        for size in (4096, 1):
            try:
                while True:
                    os.write(filling, b"x" * size)
            except BlockingIOError:
                pass
        (tmp_path / "filled").touch()
        time.sleep(1)  # until the launcher is where it is held up
        assert running.poll() is None
        for _ in range(signals):
            running.terminate()
            time.sleep(1)
        held_up = not until(lambda: running.poll() is not None, 5)
        running.kill()
    for fd in (reader, writer, filling):
        os.close(fd)
    assert not held_up
    assert running.returncode == -signal.SIGTERM
    assert json.loads((tmp_path / "report.json").read_text())["status"] == (3 if "exit" in code else 143)


def test_a_signal_after_the_end_loses_nothing_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(process, "STDERR", writer)
    monkeypatch.setattr(process, "hurried", 0)
    process.hurry(signal.SIGTERM)
    assert os.write(writer, b"told") == len(os.read(reader, 9))
    assert process.hurried == 0
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("more", ["", "    time.sleep(60)\n"], ids=["talking", "silent"])
def test_a_reader_that_goes_away_ends_the_run_with_141(launched: Start, script: Script, more: str) -> None:
    path = script(ME + f"while True:\n    print('line', flush=True)\n    time.sleep(0.01)\n{more}")
    running = launched(*N2, path)
    assert running.stdout is not None
    assert [running.stdout.readline() for _rank in range(2)] == ["line\n"] * 2
    running.stdout.close()
    assert running.wait(10) == 141


def test_output_that_cannot_be_written_ends_the_run_and_is_told(environ: dict[str, str], script: Script) -> None:
    path = script(ME + "print('lost', flush=True)\ntime.sleep(60)\n")
    with Path("/dev/full").open("w") as full:
        words = [BIN / "accelerate", "launch", "-q", *N2, path]
        done = subprocess.run(words, env=environ, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr == "accel: standard output can't be written: No space left on device\n"


def test_a_full_disk_ends_log_files_not_the_run(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    code = f"ulimit -f 8; exec {BIN / 'accelerate'} launch -q {' '.join(N2)} --log_dir logs {script(LOUD)}"
    environ["PYTHONDONTWRITEBYTECODE"] = "1"  # or Python would keep halves of what it compiles, for all later tests
    done = subprocess.run(["sh", "-c", code], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert done.stdout == ("x" * 999 + "\n") * 1140
    logs = sorted((tmp_path / "logs").rglob("stdout.log"))
    assert {log.stat().st_size for log in logs} in ({8 * 512}, {8 * 1024})
    for log in logs:
        assert f"accel: note: the log file {log} is incomplete: File too large\n" in done.stderr


def test_rank_0_has_our_standard_input_and_the_others_none(accelerate: Run, script: Script) -> None:
    done = accelerate("launch", *N2, script(ME + "print(f'{rank} {sys.stdin.read()!r}\\n', end='')\n"), text="typed")
    assert sorted(done.stdout.splitlines()) == ["0 'typed'", "1 ''"]


def test_prefix_marks_every_line(accelerate: Run, script: Script) -> None:
    done = accelerate("launch", *N2, "--prefix", script(ME + "print('a\\nb\\n\\nc')\n"))
    assert sorted(done.stdout.splitlines()) == sorted(f"[{r}] {t}" for r in (0, 1) for t in ("a", "b", "", "c"))


def test_log_files_and_filter(accelerate: Run, script: Script, tmp_path: Path) -> None:
    path = script(ME + "print('out', rank)\nprint('err', rank, file=sys.stderr)\n")
    done = accelerate("launch", *N2, "--log_dir", "logs", "--filter_ranks", "1", "-q", path)
    assert (done.stdout, done.stderr) == ("out 1\n", "err 1\n")
    (run,) = (path for path in (tmp_path / "logs").iterdir() if not path.is_symlink())
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d_\d\d-\d\d-\d\d_{path.stem}", run.name)
    assert (tmp_path / "logs/latest").readlink() == Path(run.name)
    found = {str(p.relative_to(run)): p.read_text() for p in run.rglob("*.log")}
    assert found == {
        f"attempt_0/{r}/{stream}.log": f"{stream[3:]} {r}\n" for r in (0, 1) for stream in ("stdout", "stderr")
    }


def test_where_logs_are_and_which_processes_ranks_are(accelerate: Run, script: Script, tmp_path: Path) -> None:
    path = script(ME + "print(rank, os.getpid())\ntime.sleep(0.2)\n")
    done = accelerate("launch", *N2, "--log_dir", "logs", path)
    pids = dict(line.split() for line in done.stdout.splitlines())
    run = (tmp_path / "logs/latest").resolve()
    assert f"accel: logs in {run}, pids by rank: 0: {pids['0']}, 1: {pids['1']}\n" in done.stderr


def test_logs_of_runs_at_once_and_of_earlier_ones_are_kept(accelerate: Run, script: Script, tmp_path: Path) -> None:
    path = script("print('out')")
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(accelerate, "launch", "--cpu", "--log_dir", "logs", path) for _run in range(4)]
    assert [run.result().returncode for run in runs] == [0] * 4
    (tmp_path / "logs/latest").unlink()
    (tmp_path / "logs/latest").write_text("mine")
    done = accelerate("launch", "--cpu", "--log_dir", "logs", path)
    assert f"accel: note: {tmp_path}/logs/latest doesn't lead to the latest logs: it isn't a link\n" in done.stderr
    assert (tmp_path / "logs/latest").read_text() == "mine"
    assert len(list((tmp_path / "logs").glob("*/attempt_0/0/stdout.log"))) == 5


@pytest.mark.parametrize("engine", [pytest.param("local"), pytest.param("torchrun", marks=pytest.mark.exhaustive)])
def test_each_attempt_has_its_logs(accelerate: Run, script: Script, tmp_path: Path, engine: str) -> None:
    if engine == "torchrun":
        pytest.importorskip("torch")
    path = script(
        ME + "count = os.environ['TORCHELASTIC_RESTART_COUNT']\nprint('attempt', count, flush=True)\n"
        "open(f'{count}-{rank}', 'w').close()\n"
        "while not all(os.path.exists(f'{count}-{other}') for other in (0, 1)): time.sleep(0.01)\n"
        "sys.exit(count == '0')\n"
    )
    done = accelerate(
        "launch", *N2, "--engine", engine, "--max_restarts", "1", "--log_dir", "logs", path, timeout=100
    )
    assert done.returncode == 0, done.stderr
    found = {
        str(p.relative_to(tmp_path / "logs/latest")): p.read_text()
        for p in tmp_path.glob("logs/latest/*/*/stdout.log")
    }
    assert found == {f"attempt_{n}/{rank}/stdout.log": f"attempt {n}\n" for n in (0, 1) for rank in (0, 1)}


def test_tee_without_log_files_marks_lines_as_torchrun_does(accelerate: Run, script: Script, tmp_path: Path) -> None:
    path = script(ME + "print('out', rank)\nprint('err', rank, file=sys.stderr)\n")
    done = accelerate("launch", *N2, "--tee", "3", "--role", "a{}%s", path, cwd=path.parent)
    assert sorted(done.stdout.splitlines()) == ["[a{}%s0]:out 0", "[a{}%s1]:out 1"]
    assert "[a{}%s0]:err 0\n" in done.stderr
    assert "tee" not in done.stderr
    assert accelerate("launch", "--cpu", "-t", "1", "-q", path, env={"RANK": "0"}).stdout == "[default0]:out 0\n"
    mark = {"TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": "<${rank} ${local_rank} $role_name> "}
    done = accelerate("launch", *N2, "--tee", "0:1,1:2", "-q", path, env=mark)
    assert sorted(done.stdout.splitlines()) == ["<0 0 default> out 0", "out 1"]
    assert sorted(done.stderr.splitlines()) == ["<1 1 default> err 1", "err 0"]
    assert list(tmp_path.iterdir()) == [path]


def test_tee_by_rank_marks_lines_as_torchrun_does(accelerate: Run, script: Script, tmp_path: Path) -> None:
    path = script(ME + "print('out', rank)\nprint('err', rank, file=sys.stderr)\n")
    done = accelerate("launch", *N2, "--log_dir", "logs", "--tee", "0:1,1:2", "-q", path)
    assert sorted(done.stdout.splitlines()) == ["[default0]:out 0", "out 1"]
    assert sorted(done.stderr.splitlines()) == ["[default1]:err 1", "err 0"]
    assert sorted(p.name for p in (tmp_path / "logs").rglob("*.log")) == ["stderr.log", "stdout.log"]


@pytest.mark.parametrize("word", ["x", "4", "0:9", "a:1"])
def test_a_wrong_tee(accelerate: Run, script: Script, word: str) -> None:
    done = accelerate("launch", *N2, "--tee", word, script(ME))
    assert done.returncode == 2
    assert f"--tee: tee must be 0, 1, 2 or 3, for all local ranks or for each (0:1,1:3), not '{word}'" in done.stderr


def test_closed_standard_streams(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    path = script(ME + "open(f'ran{rank}', 'w').close()\nprint('lost')\n")
    code = f"exec '{BIN / 'accelerate'}' launch --cpu --num_processes 2 '{path}' <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", code], env=environ, cwd=tmp_path, timeout=30)
    assert done.returncode == 0
    assert (tmp_path / "ran0").exists()
    assert (tmp_path / "ran1").exists()


def test_a_read_only_folder_and_no_file_left(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir(mode=0o555)
    (tmp_path / "temp").mkdir()
    done = subprocess.run(
        [BIN / "accelerate", "launch", *N2, script("print('ran')")],
        env={**environ, "TMPDIR": str(tmp_path / "temp")},
        cwd=here,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "ran\nran\n"
    assert list(here.iterdir()) == list((tmp_path / "temp").iterdir()) == []


def test_a_terminal_stays_one_with_its_size(script: Script, environ: dict[str, str]) -> None:
    path = script(
        ME + "if rank == '0':\n"
        "    print(sys.stdout.isatty(), sys.stderr.isatty(), sys.stdin.isatty(), os.get_terminal_size(), flush=True)\n"
        "    for _ in range(9): os.write(1, b'out '); os.write(2, b'err ')\n"
        "    input('more? ')\n"
        "    until = time.monotonic() + 5\n"
        "    while os.get_terminal_size().lines == 30 and time.monotonic() < until: time.sleep(0.01)\n"
        "    print(os.get_terminal_size(), flush=True)\n"
    )
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 111, 0, 0))
    running = subprocess.Popen(
        [BIN / "accelerate", "launch", "-q", *N2, path], stdin=slave, stdout=slave, stderr=slave, env=environ
    )
    os.close(slave)
    try:
        seen = read_until(master, b"more? ")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 122, 0, 0))
        running.send_signal(signal.SIGWINCH)  # the kernel sends it to the terminal's own session, which this is not
        os.write(master, b"yes\n")
        assert read_until(master, b"columns=122, lines=33")
        assert running.wait(10) == 0
    finally:
        running.kill()
        running.wait(10)
        os.close(master)
    assert b"True True True os.terminal_size(columns=111, lines=30)\r\n" + b"out err " * 9 in seen


@pytest.mark.parametrize(("flags", "less"), [(("--prefix",), 4), (("--tee", "3"), 11), (("--tee", "1"), 11)])
def test_a_full_width_line_stays_one_line_with_its_prefix(
    script: Script, environ: dict[str, str], flags: tuple[str, ...], less: int
) -> None:
    path = script(
        ME + "came = []\nsignal.signal(signal.SIGWINCH, lambda *_: came.append(1))\n"
        "width = os.get_terminal_size(1).columns\nprint('#' * width, flush=True)\n"
        "any(came or time.sleep(0.1) for _ in range(900))\nprint(rank, 'told:', os.get_terminal_size(1).columns, flush=True)\ntime.sleep(0.2)\n"
    )
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 50, 0, 0))
    running = subprocess.Popen(
        [BIN / "accelerate", "launch", "-q", *flags, *N2, path], stdin=slave, stdout=slave, stderr=slave, env=environ
    )
    os.close(slave)
    try:
        seen = read_until(master, b"#" * (50 - less) + b"\r\n", count=2)
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 122, 0, 0))
        running.send_signal(signal.SIGWINCH)
        seen += read_until(master, f"told: {122 - less}\r\n".encode(), within=60, count=2)
        assert running.wait(10) == 0
    finally:
        running.kill()
        running.wait(10)
        os.close(master)
    assert all(len(line) == 50 for line in seen.decode().split("\r\n") if "#" in line)


def read_until(fd: int, wanted: bytes, within: float = 10, count: int = 1) -> bytes:
    """Read what a launch writes until it holds what is waited for."""
    seen = b""
    end = time.monotonic() + within
    while seen.count(wanted) < count:
        assert time.monotonic() < end, f"only {seen!r} came"
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 4096)
    return seen


# The report.


def test_the_report_as_json(accelerate: Run, script: Script, tmp_path: Path) -> None:
    path = script(
        ME + "def f():\n    raise KeyError('it')\n"
        "open(f'pid{rank}', 'a').write(str(os.getpid()))\n"
        "while not open('pid0', 'a+').seek(0, 2): time.sleep(0.01)\n"
        "rank == '1' and f()\ntime.sleep(60)\n"
    )
    done = accelerate("launch", *N2, "--report", "report.json", "--log_dir", "logs", path)
    told = json.loads((tmp_path / "report.json").read_text())
    assert done.returncode == told["status"] == 1
    failure = told["failure"]
    assert (failure["rank"], failure["exception"], failure["where"]) == (1, "KeyError: 'it'", f"{path}:4")
    assert (failure["exit_status"], failure["cause"]) == (1, "exit status 1")
    assert failure["host"] == os.uname().nodename
    assert Path(failure["log"], "stderr.log").read_text().endswith("KeyError: 'it'\n")
    assert [rank["rank"] for rank in told["ranks"]] == [1, 0]
    assert failure["pid"] == told["ranks"][0]["pid"] == int((tmp_path / "pid1").read_text())
    assert told["ranks"][1]["pid"] == int((tmp_path / "pid0").read_text())
    assert told["ranks"][1]["signal"] == "SIGTERM"
    assert [p.name for p in tmp_path.iterdir() if "report" in p.name] == ["report.json"]


def test_a_signalled_runs_report(launched: Start, script: Script, tmp_path: Path) -> None:
    running = launched(*N2, "--report", tmp_path / "r.json", script(SLEEP))
    read_pids(running, 2)
    running.terminate()
    running.wait(10)
    told = json.loads((tmp_path / "r.json").read_text())
    assert (told["status"], told["signal"], told["failure"]) == (143, "SIGTERM", None)


def test_torchs_error_file_is_preferred(accelerate: Run, script: Script) -> None:
    path = script(
        ME + "import json\n"
        "if rank == '1':\n"
        "    stack = 'Traceback (most recent call last):\\n  File \"/u/own.py\", line 8, in f\\nOSError: told\\n'\n"
        "    told = {'message': {'message': 'OSError: told', 'extraInfo': {'py_callstack': stack, 'timestamp': str(int(time.time()))}}}\n"
        "    json.dump(told, open(os.environ['TORCHELASTIC_ERROR_FILE'], 'w'))\n"
        "    sys.exit(9)\n"
        "time.sleep(60)\n"
    )
    done = accelerate("launch", *N2, path)
    assert done.returncode == 9
    assert "exception: OSError: told" in done.stderr
    assert "at: /u/own.py:8" in done.stderr


@pytest.mark.exhaustive
def test_torchs_record_decorator_writes_it(accelerate: Run, script: Script) -> None:
    pytest.importorskip("torch")
    path = script(
        ME + "from torch.distributed.elastic.multiprocessing.errors import record\n"
        "@record\n"
        "def main():\n"
        "    if rank == '1':\n"
        "        raise LookupError('recorded')\n"
        "    time.sleep(60)\n"
        "main()\n"
    )
    done = accelerate("launch", *N2, path, timeout=100)
    assert done.returncode == 1
    assert "exception: LookupError: recorded" in done.stderr
    assert f"at: {path}:7" in done.stderr


def test_a_rank_has_no_descriptor_but_its_streams(accelerate: Run, script: Script) -> None:
    path = script("import os; print(sorted(os.listdir('/proc/self/fd')))")
    bare = subprocess.run([sys.executable, path], capture_output=True, text=True).stdout
    assert accelerate("launch", *N2, path).stdout == bare * 2


def test_limits_are_the_ranks_own(accelerate: Run, script: Script) -> None:
    done = accelerate("launch", *N2, script("import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"))
    assert done.stdout.splitlines() == [str(resource.getrlimit(resource.RLIMIT_NOFILE))] * 2


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup of 100 MB below our own; skips where none can be made."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    v1 = next((path for _number, controllers, path in lines if "memory" in controllers.split(",")), None)
    v2 = next((path for _number, controllers, path in lines if not controllers), "/")
    base, limit = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes") if v1 else ("/sys/fs/cgroup", "memory.max")
    folder = Path(base + (v1 or v2)) / f"accel-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / limit).write_text("100000000")
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield folder
    until(lambda: not (folder / "cgroup.procs").read_text())
    folder.rmdir()


def test_out_of_memory_is_told_by_the_cgroups_counters(
    small_cgroup: Path, environ: dict[str, str], script: Script
) -> None:
    path = script(ME + "rank == '1' and bytearray(300_000_000)\ntime.sleep(30)\n")
    code = f"echo $$ > {small_cgroup / 'cgroup.procs'}; exec {BIN / 'accelerate'} launch {' '.join(N2)} {path}"
    done = subprocess.run(["sh", "-c", code], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 137, done.stderr
    assert "rank 1 (local rank 1" in done.stderr
    assert "cause: terminated by SIGKILL: out of memory (killed by the OOM killer)" in done.stderr


DESERTED = """
import os, select, signal, subprocess, sys, time
from types import SimpleNamespace
from accel_launch.machine import process_tree
from accel_launch.running.guardian.children import Children
from accel_launch.running.guardian.guardian import Guardian

launcher = subprocess.Popen(["sleep", "60"])
caller, writer = os.pipe()
orders, order = os.pipe()
work = SimpleNamespace(caller=caller, launcher=launcher.pid, tidy=lambda alone: print("tidied", alone))
guardian = Guardian(work, orders, os.pipe()[1])
guardian.children = Children(lambda *_: None)
guardian.children.ranks[1] = 0
guardian.children.poller.register(caller, select.EPOLLRDHUP)
guardian.starter = SimpleNamespace(tools=None)
guardian.teardown = SimpleNamespace(timeout=-1.0, kill=lambda: print("killed"), advance=lambda some_left: None)
os.close(writer)
print("alive", guardian._step(), flush=True)
launcher.send_signal(signal.SIGSTOP)
while not process_tree.stopped(launcher.pid):
    time.sleep(0.01)
while guardian._step():
    pass
print("launcher", launcher.wait())
"""


def test_a_launcher_that_is_stopped_just_after_its_caller_has_gone_ends_too() -> None:
    done = subprocess.run([sys.executable, "-c", DESERTED], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["alive True", "killed", "tidied True", "launcher -9"], done.stderr


GOES_ON = """\
import os, signal
from accel_launch.running.supervising.signal_handling import SignalHandling
sent = []
class Orders:
    def send(self, number):
        sent.append(int(number))
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGCONT)
SignalHandling(Orders(), lambda: False, lambda: None).start()
os.kill(os.getpid(), signal.SIGTSTP)
print(sent == [signal.SIGTSTP, signal.SIGCONT])
"""


def test_a_launcher_that_goes_on_while_it_stops_does_not_stop(environ: dict[str, str]) -> None:
    with subprocess.Popen([sys.executable, "-c", GOES_ON], env=environ, stdout=subprocess.PIPE, text=True) as popen:
        try:
            assert popen.communicate(timeout=20)[0] == "True\n"
        finally:
            popen.kill()
