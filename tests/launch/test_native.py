"""Calls of C, C++ and Rust: what is read of them, and that nothing but a moment is taken from the process."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from accel_launch.inspecting import kernel, rights, sampling
from accel_launch.inspecting.native import copier, copying, merging, names, reading, tables, unwinding
from accel_launch.inspecting.native.copying import Copy
from accel_launch.inspecting.native.elf import Image
from accel_launch.inspecting.native.expressions import Reader, evaluate
from accel_launch.inspecting.native.merging import Call
from accel_launch.inspecting.native.reading import Stacks
from accel_launch.inspecting.native.spaces import Files, Mapping, Space
from accel_launch.inspecting.sampling import Unread
from accel_launch.inspecting.threads import Frame, Sampled, Thread
from tests.conftest import Run, needs_torch
from tests.interpreters import VERSIONS, find
from tests.launch.processes import Script, Start, until

SORTED = """\
import ctypes, os, time
libc = ctypes.CDLL(None)
def inner():
    time.sleep(1000)
def compare(a, b):
    inner()
    return 0
kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def numbers():
    yield sort()
def sort():
    libc.qsort((ctypes.c_int * 2)(2, 1), 2, 4, kind(compare))
def call(_):
    next(numbers())
print(os.getpid(), flush=True)
list(map(call, [1]))
"""
BUSY = """\
import os, resource, sys, time
{imports}
print(os.getpid(), flush=True)
file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
def look():
    ran, waited, _ = os.pread(file, 100, 0).split()
    return time.monotonic(), (int(ran) + int(waited)) / 1e9, resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
longest = 0.0
last = look()
end = last[0] + {seconds}
while last[0] < end:
    {work}
    now = look()
    if now[2] > last[2]:
        longest = max(longest, now[0] - last[0] - (now[1] - last[1]))
    last = now
print(longest, flush=True)
"""
"""It prints the longest time in which it stood still: it gave up the CPU, and neither ran nor waited for one."""


@contextlib.contextmanager
def started(text: str, python: object = sys.executable) -> Generator[subprocess.Popen[str]]:
    """A program that has printed its first line."""
    with subprocess.Popen(
        [str(python), "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as popen:
        assert popen.stdout is not None
        try:
            popen.stdout.readline()
            yield popen
        finally:
            popen.kill()


def threads_of(pid: int) -> list[int]:
    """Return the threads of a process."""
    return [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]


def main_thread(pid: int) -> Thread:
    """Return the main thread of a process with all its calls."""
    found = reading.read([pid])[pid]
    assert isinstance(found, Stacks), found
    assert found.unread == ""
    return next(thread for thread in found.threads if thread.id == pid)


def functions(pid: int) -> list[str]:
    """Return the functions of a process's main thread."""
    return [frame.function for frame in main_thread(pid).frames]


def in_call(pid: int, name: str) -> bool:
    """Whether a process waits in a call of the system."""
    found = kernel.facts(pid)
    return found is not None and found.call == name


# What is read.


@pytest.mark.parametrize("version", VERSIONS)
def test_calls_of_python_stand_where_c_has_called_them(version: str) -> None:
    python = find(version)
    if python is None:
        pytest.skip(f"Python {version} isn't on this machine")
    with started(SORTED, python) as popen:
        assert until(lambda: in_call(popen.pid, "clock_nanosleep"))
        frames = main_thread(popen.pid).frames
    own = [frame for frame in frames if frame.file == "<string>"]
    assert [(frame.function, frame.line) for frame in own] == [
        *(("inner", 4), ("compare", 6), ("sort", 12), ("numbers", 10), ("call", 14), ("<module>", 16))
    ]
    called = [frame.function for frame in frames]
    assert "clock_nanosleep" in called[: called.index("inner")]
    between = called[called.index("compare") : called.index("sort")]
    assert any("qsort" in each for each in between)
    assert "ffi_call" in between
    assert called[called.index("sort") + 1] == "numbers"
    assert called.index("<module>") - called.index("numbers") == 2
    assert "?" not in called
    assert not any("EvalFrame" in each for each in called)


def test_calls_of_the_interpreter_go_on_with_those_of_python() -> None:
    """Each of two calls of C in the interpreter itself: `sorted` calls `key`, `map` calls a function."""
    text = "import time\ndef key(x):\n    time.sleep(1000)\nprint(1, flush=True)\nlist(map(lambda x: sorted([x], key=key), [1]))"
    with started(text) as popen:
        assert until(lambda: in_call(popen.pid, "clock_nanosleep"))
        found = functions(popen.pid)
    assert found[found.index("key") :][:3] == ["key", "<lambda>", "<module>"]


def test_a_handler_of_a_signal_is_followed_to_what_it_interrupted() -> None:
    text = (
        "import ctypes, os, time\n"
        "libc = ctypes.CDLL(None)\n"
        "def handle(number):\n    time.sleep(1000)\n"
        "handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(handle)\n"
        "libc.signal(10, handler)\n"
        "print(1, flush=True)\n"
        "ctypes.PyDLL(None).pause()\n"  # with the interpreter's lock, which the handler takes
    )
    if os.uname().machine != "x86_64":
        pytest.skip("the kernel describes no trampoline on aarch64")
    with started(text) as popen:
        assert until(lambda: in_call(popen.pid, "pause"))
        os.kill(popen.pid, signal.SIGUSR1)
        assert until(lambda: in_call(popen.pid, "clock_nanosleep"))
        found = functions(popen.pid)
    assert "pause" in found[found.index("handle") : found.index("<module>")]
    assert "?" not in found


@pytest.mark.exhaustive
@needs_torch
def test_it_is_what_py_spy_tells_of_a_collective(launched: Start, script: Script) -> None:
    """Rank 0 waits in all_reduce, rank 1 sleeps. py-spy also shows calls that a compiler has inlined."""
    text = (
        "import os, time, torch, torch.distributed as d\n"
        "d.init_process_group('gloo')\n"
        "print(os.getpid(), d.get_rank(), flush=True)\n"
        "if d.get_rank(): time.sleep(1000)\n"
        "d.all_reduce(torch.ones(4))\n"
    )
    running = launched("-q", "--cpu", "--num_processes", "2", script(text))
    assert running.stdout is not None
    pids = {int(rank): int(pid) for pid, rank in (running.stdout.readline().split() for _ in range(2))}
    for pid in pids.values():
        assert until(lambda pid=pid: (found := kernel.facts(pid)) is not None and found.call != "")
    time.sleep(1)
    waiting = functions(pids[0])
    assert waiting[-2] == "<module>"
    assert {"c10d::ProcessGroupGloo::AsyncWork::wait", "pthread_cond_wait"} & set(waiting) or any(
        each.startswith("c10d::") for each in waiting
    )
    for pid in pids.values():
        told = json.loads(
            subprocess.run(
                [str(sampling.program()), "dump", "--native", "--json", "--full-filenames", "--pid", str(pid)],
                capture_output=True,
                check=True,
            ).stdout
        )
        theirs = {each["os_thread_id"]: [_named(f["name"], f["module"]) for f in each["frames"]] for each in told}
        found = reading.read([pid])[pid]
        assert isinstance(found, Stacks)
        assert {thread.id for thread in found.threads} == theirs.keys()
        for thread in found.threads:
            ours = [_named(f.function, f.file if f.line == 0 else None) for f in thread.frames]
            rest = iter(theirs[thread.id])
            assert all(each in rest for each in ours), (ours, theirs[thread.id])
            assert len(ours) > 2


def _named(function: str, module: str | None) -> str:
    """A call as both tell it: a function that has a name, else its file."""
    unknown = function.startswith("0x") or "+0x" in function
    file = os.path.realpath(module) if module else ""
    return f"{file} {'' if unknown else function.partition('<')[0].partition('(')[0].replace(' ', '')}"


def test_a_lock_that_is_waited_for_is_among_the_calls() -> None:
    with started(
        "import threading\nprint(flush=True)\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()\n"
    ) as popen:
        assert until(lambda: in_call(popen.pid, "futex"))
        called = functions(popen.pid)
    assert any("acquire_lock" in function or "PyMutex" in function for function in called[: called.index("<module>")])


def test_a_file_that_was_replaced_names_nothing(tmp_path: Path) -> None:
    """What is mapped may still be read by root; what has its name now may not be taken for it."""
    import _heapq

    path = getattr(_heapq, "__file__", None)
    if path is None:
        pytest.skip("this interpreter has _heapq inside")
    copied = tmp_path / Path(path).name
    copied.write_bytes(Path(path).read_bytes())
    text = (
        "import importlib.util, time\n"
        f"spec = importlib.util.spec_from_file_location('_heapq', {str(copied)!r})\n"
        "heap = importlib.util.module_from_spec(spec)\n"
        "class Item:\n    def __lt__(self, other):\n        time.sleep(1000)\n"
        "items = [Item()]\nprint(1, flush=True)\nheap.heappush(items, Item())\n"
    )
    with started(text) as popen:
        assert until(lambda: in_call(popen.pid, "clock_nanosleep"))
        before = functions(popen.pid)
        other = tmp_path / "other"
        other.write_bytes(Path(os.path.realpath(sys.executable)).read_bytes())
        other.rename(copied)
        after = main_thread(popen.pid).frames
        (mapping, *_) = [each for each in Space(popen.pid, Files()).mappings if each.path.startswith(str(copied))]
        assert mapping.path.endswith("(deleted)")
        replaced = Mapping(0, 4096, 0, mapping.inode, mapping.path)
        assert Files().image(popen.pid, replaced) is None  # as without a right to `map_files`
    assert [each for each in before if each.startswith(("heap", "_heapq_heap"))]
    assert [frame.function for frame in after] == before or any(
        frame.function.startswith(copied.name) for frame in after
    )


def test_the_kernel_s_own_part_is_described() -> None:
    space = Space(os.getpid(), Files())
    (mapping,) = [each for each in space.mappings if each.path == "[vdso]"]
    found = space.linked(mapping.start)
    assert found is not None
    image = found[0]
    assert image.tables is not None
    at = image.offset(image.tables)
    (first,) = struct.unpack_from("<i", image.data, at + tables.HEADER)
    row = space.row(mapping.start + image.tables + first)
    assert row is not None
    assert row.frame == {"x86_64": (7, 8), "aarch64": (31, 0)}[os.uname().machine]


# What it does to a process.


def stopped(running: subprocess.Popen[str], look: Callable[[], object], seconds: float) -> float:
    """Look at a busy process over and over; return the longest time for which it was stopped."""
    assert running.stdout is not None
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        look()
        count += 1
    assert count > 2
    return float(running.stdout.readline())


def test_a_busy_process_stands_still_for_less_than_a_tenth_of_a_second() -> None:
    """On a crowded machine it also waits for a CPU, which isn't always told apart: one of three times is enough."""

    def longest() -> float:
        with started(BUSY.format(imports="", seconds=1.3, work="pass")) as popen:
            return stopped(popen, lambda: copying.copy([popen.pid], time.monotonic() + 5), 1.0)

    assert any(0 < longest() < 0.1 for _ in range(3))


@pytest.mark.exhaustive
@needs_torch
def test_a_rank_in_torch_stands_still_for_less_than_a_tenth_of_a_second(
    launched: Start, script: Script, accelerate: Run
) -> None:
    text = BUSY.format(imports="import torch\nones = torch.ones(64, 64)", seconds=18.0, work="torch.mm(ones, ones)")
    running = launched("-q", "--cpu", "--num_processes", "1", "--stall_after", "100", script(text))
    assert running.stdout is not None
    pid = running.stdout.readline().strip()

    def look() -> None:
        found = json.loads(accelerate("stacks", pid, "--native", "--json").stdout)
        (thread,) = [each for each in found["ranks"][0]["process"]["threads"] if each["id"] == int(pid)]
        assert [frame for frame in thread["frames"] if frame["line"] is None]

    assert stopped(running, look, 11) < 0.1


CALLS = """\
import os, queue, select, signal, socket, sys, threading, time
reader, writer = os.pipe()
epoll, poll = select.epoll(), select.poll()
epoll.register(reader, select.EPOLLIN)
poll.register(reader, select.POLLIN)
ours, theirs = socket.socketpair()
other, their_other = socket.socketpair()
other.settimeout(30)
lock = threading.Lock()
lock.acquire()
def slept():
    begun = time.monotonic()
    time.sleep(1.5)
    return 1.4 < time.monotonic() - begun < 10
def signalled():
    return signal.sigtimedwait([signal.SIGUSR1], 30).si_signo == signal.SIGUSR1
calls = {
    "sleep": slept, "epoll": lambda: epoll.poll(30) == [(reader, select.EPOLLIN)],
    "poll": lambda: poll.poll(30000) == [(reader, select.POLLIN)],
    "select": lambda: select.select([reader], [], [], 30)[0] == [reader],
    "receive": lambda: ours.recv(1) == b".", "receive in time": lambda: other.recv(1) == b".",
    "lock": lambda: lock.acquire(timeout=30), "signal": signalled,
    "child": lambda: os.waitpid(child, 0)[1] == 0,
    "flock": lambda: __import__("fcntl").flock(os.open(sys.argv[0] if False else "/proc/self/exe", 0), 8) is None,
}
child = os.fork()
if not child:
    time.sleep(1.5)
    os._exit(0)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
found = queue.Queue()
def run(name, call):
    try:
        found.put((name, call()))
    except BaseException as error:
        found.put((name, repr(error)))
threads = [threading.Thread(target=run, args=each) for each in calls.items()]
for thread in threads: thread.start()
time.sleep(0.3)
print(os.getpid(), flush=True)
sys.stdin.readline()
os.write(writer, b".")
theirs.send(b".")
their_other.send(b".")
lock.release()
os.kill(os.getpid(), signal.SIGUSR1)
for thread in threads: thread.join()
print(sorted(found.get() for _ in calls), flush=True)
"""


def test_calls_of_the_system_go_on() -> None:
    """Those that the kernel doesn't restart, such as epoll_wait, Python repeats, as after SIGSTOP and SIGCONT."""
    with started(CALLS) as popen:
        tids = threads_of(popen.pid)
        for _ in range(3):
            found = copying.copy(tids, time.monotonic() + 10)
            assert all(isinstance(each, Copy) for each in found.values()), found
        out, _ = popen.communicate("\n", timeout=30)
    for name in ("sleep", "epoll", "poll", "select", "receive", "receive in time", "lock", "signal", "child"):
        assert f"('{name}', True)" in out


def test_a_stopped_process_stays_stopped_and_goes_on_when_it_is_continued() -> None:
    with started(
        "import time\nprint(1, flush=True)\nfor _ in range(10): time.sleep(0.05)\nprint(2, flush=True)"
    ) as popen:
        os.kill(popen.pid, signal.SIGSTOP)
        assert until(lambda: (facts := kernel.facts(popen.pid)) is not None and facts.state == "T")
        for _ in range(3):
            assert "<module>" in functions(popen.pid)
            assert until(lambda: (facts := kernel.facts(popen.pid)) is not None and facts.state == "T")
        time.sleep(0.7)
        facts = kernel.facts(popen.pid)
        assert facts is not None
        assert (facts.state, facts.tracer) == ("T", 0)
        os.kill(popen.pid, signal.SIGCONT)
        assert popen.stdout is not None
        assert popen.stdout.readline() == "2\n"


SIGNALLED = """\
import os, sys, time
from accel_launch.inspecting.native import copier
class Copier(copier.Copier):
    def _trace(self, request, tid, *rest):
        super()._trace(request, tid, *rest)
        if request == copier.SEIZE:
            os.kill(tid, 10)
            while ") t " not in open(f"/proc/{tid}/stat").read(): time.sleep(0.001)
print(Copier().copy(int(sys.argv[1]))[0])
"""


def test_a_signal_that_comes_at_the_same_time_is_delivered() -> None:
    """It stops the thread first, and would be lost if it weren't passed on."""
    text = (
        "import signal, time\n"
        "signal.signal(10, lambda *_: print(2, flush=True))\nprint(1, flush=True)\nwhile True: time.sleep(100)\n"
    )
    with started(text) as popen:
        words = [sys.executable, "-c", SIGNALLED, str(popen.pid)]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "0\n"
        assert popen.stdout is not None
        assert popen.stdout.readline() == "2\n"
        assert kernel.tracer(popen.pid) == 0


def test_threads_may_end_meanwhile() -> None:
    text = (
        "import threading, time\nprint(1, flush=True)\n"
        "while True:\n    threads = [threading.Thread(target=time.sleep, args=(0.003,)) for _ in range(20)]\n"
        "    for each in threads: each.start()\n    for each in threads: each.join()\n"
    )
    seen: set[object] = set()
    with started(text) as popen:
        end = time.monotonic() + 20
        while not {Copy, errno.ESRCH} <= seen and time.monotonic() < end:
            tids = threads_of(popen.pid)
            found = copying.copy([*tids, 2**22 + 1], time.monotonic() + 10)
            seen |= {each if isinstance(each, int) else Copy for each in found.values()}
        assert seen == {Copy, errno.ESRCH}
        assert popen.poll() is None
        found = reading.read([popen.pid])[popen.pid]
        assert isinstance(found, Stacks)
        assert popen.pid in [thread.id for thread in found.threads]


HANGING = """\
import sys, time
from accel_launch.inspecting.native import copier
copier.LIMIT = float(sys.argv[2])
def hang(*_):
    print(1, flush=True)
    time.sleep(1000)
copier.Copier._read = hang
copier.Copier().copy(int(sys.argv[1]))
"""


@pytest.mark.parametrize(("limit", "ends"), [("0.08", signal.SIGALRM), ("100", signal.SIGKILL)])
def test_whatever_ends_the_tracer_the_process_goes_on(limit: str, ends: int) -> None:
    """Its own timer, or another one's signal."""
    with started("import time\nprint(1, flush=True)\nwhile True: print(2, flush=True)") as popen:
        words = [sys.executable, "-c", HANGING, str(popen.pid), limit]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as tracer, contextlib.ExitStack() as after:
            after.callback(tracer.kill)
            assert tracer.stdout is not None
            assert tracer.stdout.readline() == b"1\n"
            if ends == signal.SIGKILL:
                assert kernel.process(popen.pid) is not None
                assert kernel.tracer(popen.pid) == tracer.pid
                assert rights.missing(popen.pid, native=True).startswith(
                    f"another program (pid {tracer.pid}) traces it"
                )
                found = reading.read([popen.pid])[popen.pid]
                assert isinstance(found, Stacks)
                assert f"another program (pid {tracer.pid}) traces it" in found.unread
                assert [thread.frames[-1].function for thread in found.threads] == ["<module>"]
                tracer.kill()
            assert tracer.wait(10) == -ends
        assert kernel.tracer(popen.pid) == 0
        assert popen.stdout is not None
        for _ in range(50_000):
            assert popen.stdout.readline() == "2\n"


def test_a_thread_that_is_blocked_in_the_kernel_is_left_alone(tmp_path: Path) -> None:
    """The parent of a vfork waits for the child, which here waits for a pipe; another thread of it is copied."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = (
        "import os, threading, time\n"
        f"how = [(os.POSIX_SPAWN_OPEN, 0, {str(pipe)!r}, os.O_RDONLY, 0)]\n"
        "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        "print(1, flush=True)\n"
        "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}, file_actions=how), 0)\n"
        "print('done', flush=True)\n"
    )
    with started(text) as popen:
        if not until(lambda: (facts := kernel.facts(popen.pid)) is not None and facts.state == "D", 5):
            pytest.skip("posix_spawn doesn't block its caller here")
        (other,) = {*threads_of(popen.pid)} - {popen.pid}
        found = copying.copy([popen.pid, other], time.monotonic() + 10)
        assert found[popen.pid] == errno.ETIMEDOUT
        assert isinstance(found[other], Copy)
        stacks = reading.read([popen.pid])[popen.pid]
        assert isinstance(stacks, Stacks)
        assert f"thread {popen.pid} didn't stop within 80 ms" in stacks.unread
        assert [thread.frames[-1].function for thread in stacks.threads if thread.id == popen.pid] == ["<module>"]
        assert kernel.tracer(popen.pid) == 0
        pipe.open("w").close()
        assert popen.stdout is not None
        assert popen.stdout.readline() == "done\n"


def test_a_process_that_has_ended_is_not_waited_for() -> None:
    with subprocess.Popen(["true"]) as popen:
        assert until(lambda: (facts := kernel.facts(popen.pid)) is not None and facts.state == "Z")
        found = copying.copy([popen.pid], time.monotonic() + 10)
        assert found[popen.pid] in (errno.EPERM, errno.ESRCH)
    assert isinstance(reading.read([popen.pid])[popen.pid], Unread)


def test_threads_without_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As py-spy reads them from Python 3.10 and older."""

    def read(pids: list[int]) -> dict[int, tuple[Sampled, ...]]:
        return {pid: (Sampled(Thread(0, "", True, True, ()), (), numbered=False),) * 2 for pid in pids}

    monkeypatch.setattr(sampling, "read", read)
    assert "calls of C are read from Python 3.11 on" in str(reading.read([os.getpid()])[os.getpid()])


def test_on_another_machine_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MACHINES", {})
    (found,) = reading.read([1]).values()
    here = os.uname()
    told = f"calls of C are read on Linux on x86_64 and aarch64; this is {here.sysname} on {here.machine}"
    assert str(found) == told


def test_nothing_of_it_is_imported_by_those_who_do_without() -> None:
    text = "import sys\nfrom accel_launch.inspecting import snapshot\nprint([n for n in sys.modules if '.native' in n or n == 'ctypes'])"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Parts.


def sampled(*calls: tuple[str, bool]) -> Sampled:
    frames = tuple(Frame(function, "a.py", 1) for function, _ in calls)
    return Sampled(Thread(1, "", True, True, frames), tuple(entry for _, entry in calls))


@pytest.mark.parametrize(
    ("calls", "whole", "text"),
    [
        ("a L b L", True, "a f g b h"),
        ("a L b L c", True, "a f g b h c"),
        ("L a L b L", True, "a f g b h"),  # the innermost loop has nothing to run yet
        ("L L L L", True, None),
        ("a L", True, None),
        ("a L b", False, "a f g b ? h"),
        ("a", False, "a ? f g h"),
        ("", False, "? f g h"),
        ("a L x L", True, "a f g h"),
    ],
)
def test_merging(calls: str, whole: bool, text: str | None) -> None:
    made = [Call(Frame(letter, "lib.so", 0), loop=letter == "L", hidden=letter in "Lx") for letter in calls.split()]
    found = merging.merge(made, whole=whole, python=sampled(("f", False), ("g", True), ("h", True)))
    assert (None if found is None else " ".join(frame.function for frame in found)) == text


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        (b"qsort", "qsort"),
        (b"qsort@@GLIBC_2.2.5", "qsort"),
        (b"_ZN2at4_ops2mm4callERKNS_6TensorES4_", "at::_ops::mm::call"),
        (b"_ZNK3c106SymInt7is_sameERKS0_", "c10::SymInt::is_same"),
        (b"_ZN2at12_GLOBAL__N_110wrapper_mmERKNS_6TensorE", "at::(anonymous namespace)::wrapper_mm"),
        (b"_ZSt4moveIRiEONSt16remove_referenceIT_E4typeEOS2_", "std::move<int&>"),
        (b"_ZZ4mainENKUliE_clEi", "main::{lambda(int)#1}::operator()"),
        (b"_ZN1XcvbEv", "X::operator bool"),
        (b"_Zbroken", "_Zbroken"),
    ],
)
def test_names(symbol: bytes, name: str) -> None:
    if names.readable(b"_ZN1a1bEv") != "a::b":
        pytest.skip("this system has no library of C++")
    assert names.readable(symbol) == name


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("a::f<" + "b, " * 100 + "c>::operator()", "a::f<...>::operator()"),
        ("x" * 300, "x" * 100 + "..." + "x" * 100),
    ],
)
def test_templates_are_left_out_of_long_names(long: str, short: str) -> None:
    assert names.shortened(long) == short


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("void f<int>(int) [clone .cold]", "f<int>"),
        ("std::vector<int, std::allocator<int> > g<void (*)(int)>(int) const &", "g<void (*)(int)>"),
        ("X::operator()() const", "X::operator()"),
        ("X::operator()", "X::operator()"),
        ("bool operator< <int>(A const&, B const&)", "operator< <int>"),
        ("main::{lambda(int)#1}::operator()(int) const", "main::{lambda(int)#1}::operator()"),
        ("f()::x", "f()::x"),
        ("(anonymous namespace)::f(int)", "(anonymous namespace)::f"),
        ("guard variable", "variable"),
    ],
)
def test_bare_names(name: str, found: str) -> None:
    assert names.bare(name) == found


class Aarch64:
    """What `os.uname` returns there, and a space with one file's tables at 0."""

    machine = "aarch64"

    def __init__(self, image: Image) -> None:
        self.image = image

    def row(self, address: int) -> tables.Row | None:
        return tables.find(self.image, address)


def test_a_machine_that_signs_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """aarch64: a leaf keeps where it goes back in a register, and its caller, which has signed it, on the stack."""

    image = Image(
        _image([(0x100, 0x20, b""), (0x200, 0x40, b"\x2d\x42\x0e\x20\x9d\x04\x9e\x03"), (0x300, 0x10, b"\x07\x1e")])
    )
    monkeypatch.setattr(os, "uname", lambda: Aarch64)
    registers = [0] * 34
    registers[30], registers[31], registers[32] = 0x210, 0x7000, 0x104
    stack = struct.pack("<4Q", 0x7F00, 0xBEEF_0000_0000_0308, 1, 2)
    found = unwinding.unwind(Copy(tuple(registers), stack), Aarch64(image))  # type: ignore[arg-type]
    assert found.calls == (0x104, 0x20F, 0x307)
    assert found.whole
    cut = unwinding.unwind(Copy(tuple(registers), stack[:8]), Aarch64(image))  # type: ignore[arg-type]
    assert (cut.calls, cut.whole) == ((0x104, 0x20F), False)


def test_what_a_signal_has_interrupted_is_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the first instruction of a function, before which is another one."""

    monkeypatch.setattr(os, "uname", lambda: Aarch64)
    registers = [0] * 34
    registers[31], registers[32] = 0x7000, 0x104
    for letters, calls in (("zRS", (0x104, 0x300)), ("zR", (0x104, 0x2FF))):
        image = Image(
            _image([(0x100, 0x20, b"\x0e\x10\x9e\x01"), (0x2E0, 0x20, b""), (0x300, 0x10, b"\x07\x1e")], letters)
        )
        found = unwinding.unwind(Copy(tuple(registers), struct.pack("<2Q", 0, 0x300)), Aarch64(image))  # type: ignore[arg-type]
        assert found.calls[:2] == calls


def _image(described: list[tuple[int, int, bytes]], letters: str = "zR") -> bytes:
    """An ELF file whose tables describe functions: where each begins, its size, and its instructions."""
    index, descriptions = 0x1000, 0x1100
    shared = _padded(struct.pack("<IB", 0, 1) + letters.encode() + b"\0\x04\x78\x1e\x01\x1b" + b"\x0c\x1f\x00")
    body = struct.pack("<I", len(shared)) + shared
    entries: list[tuple[int, int]] = []
    for begin, size, program in described:
        at = descriptions + len(body)
        text = _padded(struct.pack("<IiI", at + 4 - descriptions, begin - (at + 8), size) + b"\0" + program)
        entries.append((begin - index, at - index))
        body += struct.pack("<I", len(text)) + text
    header = bytes(tables.INDEX) + struct.pack("<iI", descriptions - index - 4, len(entries))
    header += b"".join(struct.pack("<ii", *each) for each in entries)
    data = bytearray(0x2000)
    data[:64] = b"\x7fELF\x02\x01".ljust(32, b"\0") + struct.pack("<QQIHHHHHH", 64, 0, 0, 64, 56, 2, 64, 0, 0)
    data[64:176] = b"".join(
        struct.pack("<IIQQQQQQ", kind, 4, at, at, at, size, size, 8)
        for kind, at, size in ((1, 0, 0x2000), (0x6474E550, index, len(header)))
    )
    data[index : index + len(header)] = header
    data[descriptions : descriptions + len(body)] = body
    return bytes(data)


def _padded(text: bytes) -> bytes:
    return text + b"\0" * (-len(text) % 8)


@pytest.mark.parametrize("count", [0, 10, 63, 64, 100, 4095, 4097])
def test_broken_files_are_refused(count: int) -> None:
    whole = _image([(0x100, 0x20, b"")])
    with contextlib.suppress(ValueError):
        assert tables.find(Image(whole[:count]), 0x104) is None
    assert tables.find(Image(whole), 0x104) is not None
    assert tables.find(Image(whole), 0x124) is None
    assert tables.find(Image(whole), 0x50) is None


def test_numbers_of_leb128() -> None:
    """The examples of DWARF 5, section 7.6; one without an end is refused."""
    text = b"\x02\x7f\x80\x01\x81\x01\x80\x02\xb9\x64"
    reader = Reader(text, 0)
    assert [reader.unsigned() for _ in range(6)] == [2, 127, 128, 129, 256, 12857]
    reader = Reader(b"\x02\x7e\xff\x00\x81\x7f\x80\x01\x80\x7f\x81\x01\xff\x7e", 0)
    assert [reader.signed() for _ in range(8)] == [2, -2, 127, -127, 128, -128, 129, -129]
    with pytest.raises(ValueError, match="more than 64 bits"):
        Reader(b"\xff" * 1000, 0).unsigned()


def test_the_expression_of_a_linkage_table() -> None:
    """That of each entry of ``.plt``: a register was pushed or not, by where in the entry the process is."""
    text = b"\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22"
    for at, found in ((0x100A, 0x7008), (0x100B, 0x7010)):
        assert evaluate(text, {7: 0x7000, 16: at}, lambda _address: 0) == found
    assert evaluate(b"\x06\x23\x08", {}, lambda address: address * 2, (5,)) == 18
    for broken in (b"\x77", b"\xff", b"\x06", b"\x2f\xfd\xff"):
        with pytest.raises(ValueError, match=r"expression|operation|early"):
            evaluate(broken, {}, lambda _address: 0)


def test_the_program_stands_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", copier.__file__, "1073741824"], capture_output=True, check=True, cwd=tmp_path
    )
    assert done.stderr == b""
    assert copier.HEADER.unpack(done.stdout) == (errno.ESRCH, 0, 0)


def test_a_terminal_s_ctrl_z_does_not_stop_it() -> None:
    words = [sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())"]
    assert copying._output(words, time.monotonic() + 10) == b"True\n"
