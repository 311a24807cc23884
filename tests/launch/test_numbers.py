"""The main thread is known where py-spy tells no number of it, or that of another pid namespace."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from accel_launch.inspecting import kernel, numbers, sampling
from accel_launch.inspecting.native import reading
from accel_launch.inspecting.native.reading import Stacks
from accel_launch.inspecting.report import as_json, text
from accel_launch.inspecting.sampling import Unread
from accel_launch.inspecting.snapshot import take
from accel_launch.inspecting.subject import Subject
from accel_launch.inspecting.threads import Sampled, Thread
from accel_launch.running.onlookers.stall.sweeping import looks_at
from tests.conftest import Run
from tests.interpreters import find
from tests.launch.processes import Script, Start, until

OLD = (
    "3.10",
    "3.6",
    *(pytest.param(version, marks=pytest.mark.exhaustive) for version in ("3.7", "3.8", "3.9")),
)
NAMED = "import threading, time\ndef start(): threading.Thread(target=feed, name='feeder', daemon=True).start()\n"
UNNAMED = "import _thread, time\ndef start(): _thread.start_new_thread(feed, ())\n"
RENAMED = NAMED.replace(" time\n", " time; threading.current_thread().name = 'trainer'\n")
WAITS = "def feed(): time.sleep(1000)\ndef train(): time.sleep(1000)\nstart()\ntime.sleep(0.1)\ntrain()\n"
SPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
HANGS = """\
import os, threading, time
def wait():
    lock = threading.Lock(); lock.acquire(); lock.acquire()
def rest():
    time.sleep(1000)
rest() if os.environ["RANK"] == "1" else wait()
"""
STEPS = "import time\ndef a(): time.sleep(3)\ndef b(): time.sleep(3)\ndef c(): time.sleep(3)\na(); b(); c(); a(); b(); c()\n"


def python_of(version: str) -> str:
    """Return an interpreter of this version."""
    found = find(version)
    if found is None:
        pytest.skip(f"Python {version} isn't on this machine")
    return str(found)


def needs_namespaces() -> None:
    """Skip where none can be made."""
    try:
        done = subprocess.run([*SPACE, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs the program unshare")
    if done.returncode:
        pytest.skip(f"no pid namespace can be made here: {done.stderr.strip()}")


@contextlib.contextmanager
def trains(*words: str, program: str) -> Generator[int]:
    """A process with two threads, of which the main one is in `train`, below some programs."""
    with subprocess.Popen([*words, "-c", program]) as popen:
        try:
            assert until(lambda: "train" in calls_of(lowest(popen.pid)))
            yield lowest(popen.pid)
        finally:
            popen.kill()


def lowest(pid: int) -> int:
    """Return the last of the processes below a process."""
    return next(reversed(kernel.children(pid)), pid)


def calls_of(pid: int) -> list[str]:
    """Return the calls of all threads of a process."""
    found = sampling.sample([pid])[pid]
    threads = () if isinstance(found, Unread) else found
    return [frame.function for thread in threads for frame in thread.frames]


def check(pid: int, *ids: int) -> None:
    """What is read of the process has the main thread in it, and threads of these numbers; it's so in sweeps too."""
    snapshot = take([Subject(0, 0, pid)])
    (stack,) = snapshot.ranks
    assert stack.process is not None
    assert [thread.id for thread in stack.process.threads] == list(ids)
    assert stack.process.main is not None
    assert not stack.process.main.active
    assert [frame.function for frame in stack.process.main.frames] == ["train", "<module>"]
    assert stack.doing.startswith("<string>:4 train > ")
    looks = looks_at(Subject(0, 0, pid), busy=False)
    assert len(looks) > 1
    assert {look.stack.place.function for look in looks} == {"train"}
    assert sampling.sweep(pid, 10, locked=True) == []
    told = text(as_json(snapshot), threads=True)
    assert f"  thread {pid}" in told
    assert "thread 0" not in told


# Pythons that don't know their threads' numbers.


@pytest.mark.parametrize("version", OLD)
def test_the_main_thread_of_an_older_python(version: str) -> None:
    with trains(python_of(version), program=NAMED + WAITS) as pid:
        check(pid, 0, pid)
        assert "calls of C are read from Python 3.11 on" in str(reading.read([pid])[pid])


@pytest.mark.parametrize(
    "program", [UNNAMED, pytest.param(RENAMED, marks=pytest.mark.exhaustive)], ids=["unnamed", "renamed"]
)
def test_it_needs_no_name(program: str) -> None:
    """Where `threading` isn't imported, or the program names the thread, the oldest one is taken."""
    with trains(python_of("3.10"), program=program + WAITS) as pid:
        check(pid, 0, pid)


def threads(*found: tuple[int, str]) -> list[Sampled]:
    """Threads with these numbers and names, newest first."""
    return [Sampled(Thread(number, name, True, False, ()), (), numbered=bool(number)) for number, name in found]


@pytest.mark.parametrize(
    ("found", "ids"),
    [
        ([(0, "MainThread"), (0, "other"), (0, "MainThread")], [0, 0, -1]),  # the program may call any of them so
        ([(0, "MainThread"), (0, "older")], [-1, 0]),
        ([(0, "newer"), (0, "older")], [0, -1]),
        ([(0, "MainThread"), (-1, "")], [0, -1]),
        ([(1 << 30, "MainThread")], [-1]),  # of another namespace, and the kernel doesn't tell of it
        ([], []),
    ],
)
def test_the_main_thread_has_the_process_s_number(found: list[tuple[int, str]], ids: list[int]) -> None:
    """Here -1 stands for that."""
    pid = os.getpid()
    sampled = threads(*((pid if number == -1 else number, name) for number, name in found))
    assert [each.thread.id for each in numbers.as_here(pid, sampled)] == [pid if one == -1 else one for one in ids]


def test_a_process_that_has_ended_has_its_own_number() -> None:
    with subprocess.Popen(["true"]) as popen:
        pass
    assert numbers.inside(popen.pid) == popen.pid
    (found,) = numbers.as_here(popen.pid, threads((1, "MainThread")))
    assert found.thread.id == popen.pid


# Pid namespaces.


@pytest.mark.parametrize("words", [SPACE, pytest.param((*SPACE, *SPACE), marks=pytest.mark.exhaustive)])
def test_numbers_of_another_pid_namespace(words: tuple[str, ...]) -> None:
    """In it the process is 1, as is another one here, which mustn't be stopped; all of its own can be."""
    needs_namespaces()
    with trains(*words, sys.executable, program=NAMED + WAITS) as pid:
        tids = sorted((int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()), reverse=True)
        assert numbers.inside(pid) == 1
        check(pid, *tids)
        found = reading.read([pid])[pid]
    assert isinstance(found, Stacks)
    assert found.unread == ""
    assert sorted((thread.id for thread in found.threads), reverse=True) == tids
    assert all(len(thread.frames) > 2 for thread in found.threads)


@pytest.mark.exhaustive
def test_an_older_python_in_a_pid_namespace() -> None:
    needs_namespaces()
    with trains(*SPACE, python_of("3.10"), program=NAMED + WAITS) as pid:
        check(pid, 0, pid)


# Whole runs.


def python_310() -> tuple[str, str]:
    """Return the flag for ranks of an older Python."""
    return "--python", python_of("3.10")


def in_namespaces() -> tuple[str, str]:
    """Return the flag for ranks that each have a pid namespace."""
    needs_namespaces()
    return "--wrap", " ".join(SPACE)


@pytest.mark.parametrize("flag", [python_310, pytest.param(in_namespaces, marks=pytest.mark.exhaustive)])
def test_a_hang_is_told_with_its_places(launched: Start, script: Script, flag: Callable[[], tuple[str, str]]) -> None:
    flags = ("-q", "--cpu", "--num_processes", "3", "--stall_after", "3", *flag())
    running = launched(*flags, script(HANGS))
    assert running.stderr is not None
    told = [next(running.stderr) for _line in range(3)]
    assert "standing still for" in told[0]
    assert "  1 of 3 ranks (1): script1.py:5 rest > " in told[1]
    assert told[2] == "  2 of 3 ranks (0, 2): script1.py:3 wait > a lock\n"


@pytest.mark.exhaustive
@pytest.mark.parametrize("flag", [python_310, in_namespaces])
def test_silent_steps_are_no_hang(accelerate: Run, script: Script, flag: Callable[[], tuple[str, str]]) -> None:
    done = accelerate("launch", "-q", "--cpu", "--num_processes", "3", "--stall_after", "8", *flag(), script(STEPS))
    assert (done.returncode, done.stderr) == (0, "")


# No process or descriptor left.


FULL = """\
import os, resource, sys
from accel_launch.inspecting import sampling
from accel_launch.inspecting.subject import Subject
from accel_launch.running.onlookers.stall.sweeping import gets_on, looks_at, glance
resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))
me = Subject(0, 0, os.getpid())
look = glance(me, busy=True)
print(sampling.sweep(me.pid, 10), looks_at(me, busy=False), gets_on(me, [look], everywhere=False))
print(look.stack.process.unread)
"""


def test_without_descriptors_nothing_is_seen_and_all_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", FULL], check=True, capture_output=True, text=True, timeout=100)
    assert done.stdout == f"None [] False\npy-spy can't be started: {os.strerror(errno.EMFILE)}\n"


def test_without_a_process_for_the_copies_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of Python are still there."""

    def refused(*_words: object, **_how: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with trains(sys.executable, program=NAMED + WAITS) as pid:
        found = sampling.read([pid])
        monkeypatch.setattr(sampling, "read", lambda _pids: found)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
        monkeypatch.setattr(subprocess, "Popen", refused)
        told = str(reading.read([pid])[pid])
    assert told == f"calls of C aren't read: no program can be started: {os.strerror(errno.EAGAIN)}"
