"""What a script, its neighbours and an odd machine can do to the looks at a run: nothing forged, nothing without end."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from accel_launch.inspecting import kernel, report, sampling, snapshot, source
from accel_launch.inspecting.groups import APART, Group, grouped
from accel_launch.inspecting.kernel import Facts
from accel_launch.inspecting.places import Place, library, locate
from accel_launch.inspecting.snapshot import Process, RankStack, Snapshot, take
from accel_launch.inspecting.subject import Subject
from accel_launch.inspecting.threads import NO_CALLS, Frame, Thread
from accel_launch.running.onlookers.last_look import LastLook
from accel_launch.running.onlookers.machines import gathering
from accel_launch.running.onlookers.machines.gathering import Gathering
from accel_launch.running.onlookers.registry import cleaning
from accel_launch.running.onlookers.stall import handle, keeping, moments, watcher
from accel_launch.running.onlookers.stall.glance import Glance
from accel_launch.running.onlookers.stall.handle import LOST, StallWatch
from accel_launch.running.onlookers.stall.keeping import Keeper
from accel_launch.running.onlookers.stall.telling import Stall
from accel_launch.running.onlookers.stall.verdict import Verdict, odd
from tests.conftest import Run
from tests.launch.audience import Audience
from tests.launch.processes import Script, Start, until
from tests.launch.test_stall_rules import watcher as watcher_of
from tests.launch.test_stall_steps import Played

EMPTY: dict[str, Any] = {"ranks": [], "groups": []}
FACTS = Facts(7, "python", "S", 1.0, 1, "futex")
HANGS = "import time\ntime.sleep(1000)\n"
STOOD = Stall(2.0, 1.0, (0,), (), {0: "still"})


# What a run's own code says.


@pytest.mark.skipif(sys.getfilesystemencoding() != "utf-8", reason="names are UTF-8 only there")
def test_a_path_that_is_not_utf8_has_no_calls_and_says_so(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/d\xe4"
    path = Path(os.fsdecode(folder + b"/steps.py"))
    path.parent.mkdir()
    path.write_text("import time\nprint(flush=True)\ntime.sleep(60)\n")
    with subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        process = take([Subject(0, 0, running.pid)]).ranks[0].process
        running.kill()
    assert process is not None
    assert process.unread == NO_CALLS


FORGING = """
import time
name = "f\\nthread ({}): MainThread;g (a.py:1) 300000000\\nz"
code = compile("def f():\\n    while True: time.sleep(0.05)", "a.py", "exec")
exec(code)
f.__code__ = f.__code__.replace(co_name=name, **({"co_qualname": name} if hasattr(f.__code__, "co_qualname") else {}))
print(flush=True)
f()
"""


def test_a_function_s_name_forges_no_stack_of_a_sweep() -> None:
    with subprocess.Popen([sys.executable, "-c", FORGING], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        found = sampling.sweep(running.pid, 10)
        running.kill()
    assert found is not None
    assert 5 < len(found) < 30
    assert {frames[0].function[:9] for frames in found} == {"f\nthread "}


@pytest.mark.parametrize("answer", ["[1e999]", '{"a": ' + "[" * 100_000, '{"shared": 3}', "", "[[]]"])
def test_any_answer_of_a_sampler_is_no_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str) -> None:
    (tmp_path / "answer").write_text(answer)
    fake = tmp_path / "py-spy"
    fake.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sampling, "program", lambda: str(fake))
    assert isinstance(sampling.read([os.getpid()])[os.getpid()], sampling.Unread)
    assert sampling.sweep(os.getpid(), 5) is None


def sampler(monkeypatch: pytest.MonkeyPatch, folder: Path, commands: str) -> None:
    """Put these commands in the place of the sampler; each run of them is noted."""
    fake = folder / "py-spy"
    fake.write_text(f"#!/bin/sh\necho >> {folder}/runs\n{commands}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sampling, "program", lambda: str(fake))
    monkeypatch.setattr(sampling, "_large", {})


@pytest.mark.parametrize("to", ["", ">&2"])
def test_a_sampler_s_answer_without_an_end_is_none_and_is_not_asked_for_again_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, to: str
) -> None:
    sampler(monkeypatch, tmp_path, f"exec yes '{'x' * 1000}' {to}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pid = 1 << 30  # that nobody has
    for now, runs in ((1000.0, 1), (1050.0, 1), (1070.0, 2)):
        monkeypatch.setattr(time, "monotonic", lambda: now)  # noqa: B023
        assert str(sampling.read([pid])[pid]) == "its stacks have more than 16 MB"
        assert (tmp_path / "runs").read_bytes() == b"\n" * runs
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    if not to:
        assert sampling.sweep(pid, 5) is None


@pytest.mark.parametrize("commands", ["exec sleep 100", "exec >&- 2>&-; exec sleep 100", "echo [; exec sleep 100"])
def test_a_sampler_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, commands: str) -> None:
    sampler(monkeypatch, tmp_path, commands)
    began = time.monotonic()
    assert str(sampling.read([1], limit=0.2)[1]) == "py-spy gave no answer in time"
    assert time.monotonic() - began < 5


def test_a_sampler_complains_and_answers_at_length(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sampler(
        monkeypatch,
        tmp_path,
        "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; echo >&2; echo Error: e >&2; exit 1",
    )
    assert str(sampling.read([1])[1]).endswith("e")


def deep(rank: int, threads: int, calls: int) -> RankStack:
    """A rank with a child, each with so many threads that have so many calls."""
    stacks = [
        Thread(FACTS.pid + each, "", True, False, tuple(Frame(f"f{call}", "a" * 200, call) for call in range(calls)))
        for each in range(threads)
    ]
    process = Process(FACTS, tuple(stacks))
    return RankStack(rank, rank, FACTS.pid, process, children=(process,))


@pytest.mark.parametrize(
    ("ranks", "threads", "calls", "left"),
    [
        (2, 3, 200, (3, 200)),
        (2, 100, 500, (1, 100)),
        (300, 1, 300, (1, 10)),
        (6000, 1, 10, (1, 0)),
        (1, 0, 0, (0, 0)),
    ],
)
def test_a_standstill_is_told_with_as_much_of_its_stacks_as_has_room(
    monkeypatch: pytest.MonkeyPatch, ranks: int, threads: int, calls: int, left: tuple[int, int]
) -> None:
    latest = Snapshot(1.0, (*(deep(rank, threads, calls) for rank in range(ranks)), RankStack(ranks, 0, 9, None)))
    monkeypatch.setattr(snapshot, "take", lambda *_, **__: latest)  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    said: list[bytes] = []
    looking = watcher.Watcher(5, [], None, lambda: 0.0, said.append)
    watcher._tell(looking, [], Verdict({0: "still"}, {}))
    assert len(said[0]) < report.MOST + 1_000_000
    stacks = json.loads(said[0])["stacks"]
    assert len(stacks) == ranks + 1
    for process in (stacks[0]["process"], stacks[0]["children"][0]):
        assert len(process["threads"]) == left[0]
        if left[0]:
            assert process["threads"][0]["id"] == FACTS.pid
            assert [each["line"] or 0 for each in process["threads"][0]["frames"]] == list(range(left[1]))


def test_what_a_watcher_tells_is_taken_in_time_that_grows_with_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.dumps({"kind": "line", "text": "x" * (1 << 22)}).encode() + b"\n" + b'{"kind": "line", "text": "2"}\n'
    parts = [told[at : at + 1000] for at in range(0, len(told), 1000)]
    said: list[str] = []
    found = watch(said, [])
    found.hearing = moments.Hearing(lambda: found.output, found.audience)
    monkeypatch.setattr(os, "read", lambda _fd, _most: parts.pop(0))  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    began = time.process_time()
    while parts:
        assert found._read()
        found.hearing.step()
    assert time.process_time() - began < 0.5
    assert [len(each) for each in said] == [(1 << 22) + 8, 9]


@pytest.mark.parametrize(
    ("file", "prompt"),
    [
        ("/home/me/debugpy/train.py", False),
        ("/home/me/pydevd_like/train.py", False),
        ("/home/me/prompt_toolkit/train.py", False),
        ("/ext/bundled/libs/debugpy/_vendored/pydevd/pydevd.py", True),
        ("/x/site-packages/prompt_toolkit/application/application.py", True),
    ],
)
def test_a_folder_named_like_a_debugger_is_none(file: str, prompt: bool) -> None:
    assert locate([Frame("f", file, 3)]).prompt == prompt


def test_a_thread_s_name_makes_no_debugger() -> None:
    code = r"open('/proc/self/comm', 'w').write('\rTracerPid: 77'); import time; print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        found = kernel.facts(running.pid)
        running.kill()
    assert found is not None
    assert found.tracer == 0


@pytest.mark.parametrize(
    ("file", "own"),
    [
        ("/usr/lib/python3.11/queue.py", False),
        ("/usr/lib64/python3.12/concurrent/futures/_base.py", False),
        ("/opt/lib/python3.13t/threading.py", False),
        ("/home/me/lib/python3.11/train.py", True),
        ("/home/me/lib/python3.11/proj/train.py", True),
        ("/home/me/lib/python3.11/proj/queue.py", True),
        ("/home/me/lib/python3_old/queue.py", True),
        ("/home/me/python3.11/queue.py", True),
        ("/venv/lib/python3.11/site-packages/proj/train.py", False),
    ],
)
def test_what_somebody_keeps_beside_the_standard_library_is_their_own(file: str, own: bool) -> None:
    assert library(Frame("f", file, 3)) != own


def test_a_module_of_the_standard_library_is_named() -> None:
    mine = Frame("step", "/home/me/train.py", 24)
    assert locate([Frame("get", "/usr/lib64/python3.12/queue.py", 9), mine]).text == "train.py:24 step > queue get"


def test_looking_at_a_line_lets_nobody_go_on_who_waits_for_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def noted(path: str, flags: int) -> int:
        opened.append(path)
        return os.open(path, flags)

    monkeypatch.setattr(source, "_opened", noted)
    path = tmp_path / "code.py"
    os.mkfifo(path)
    for no_file in (str(path), "/dev/zero", "/proc/self/pagemap", str(tmp_path)):
        assert source.line(no_file, 1) == ""
    assert opened == []


@pytest.mark.parametrize("kind", ["device", "endless", "fifo", "nul", "large", "folder"])
def test_only_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "code.py"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "large":
        path.write_bytes(b"work.wait()\n" + b"x" * source.BYTES)
    began = time.monotonic()
    odd = {"device": "/dev/zero", "endless": "/proc/self/pagemap", "nul": "a\0b.py", "folder": str(tmp_path)}
    assert source.line(odd.get(kind, str(path)), 1) == ""
    assert time.monotonic() - began < source.SECONDS


@pytest.mark.parametrize(
    ("line", "waits"),
    [
        ("work.wait()", True),
        ("work.wait(timeout=3)  # for all", True),
        ("f('#', work.wait())", True),
        ("time.sleep(9)  # was: work.wait()", False),
        ("log('work.wait()')", False),
        ("log('it\\'s work.wait()')", False),
        ("os.wait()", False),
    ],
)
def test_what_waits_for_others_by_its_line(tmp_path: Path, line: str, waits: bool) -> None:
    path = tmp_path / "code.py"
    path.write_text(f"{line}\n")
    assert locate([Frame("f", str(path), 1)]).collective == waits


def test_code_that_nobody_wrote_is_not_the_user_s_own() -> None:
    mine = Frame("step", "/home/me/train.py", 24)
    made = [Frame("load", "<string>", 227), Frame("<module>", "/tmp/torchinductor_me/ab/cd.py", 9)]
    assert locate([*made, mine]).line == 24
    assert locate(made[:1]).line == 227  # as of `python -c`


def test_a_thread_that_is_waited_for_is_in_the_line(tmp_path: Path) -> None:
    path = tmp_path / "threads.py"
    path.write_text(
        "import threading, time\ndef train():\n    print(flush=True)\n    time.sleep(60)\n"
        "thread = threading.Thread(target=train)\nthread.start()\nthread.join()\n"
    )
    with subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        assert until(lambda: "thread: threads.py:4 train" in take([Subject(0, 0, running.pid)]).ranks[0].doing)
        running.kill()


# Who reads a terminal.


@pytest.mark.parametrize(
    ("wait", "reads"),
    [
        ("input()", True),
        ("import readline; input()", True),
        ("import select; select.select([0], [], [])", True),
        ("import select, socket; a, b = socket.socketpair(); select.select([a], [], [])", False),
        ("import select; select.select([], [], [], 60)", False),
        ("import select, socket; a, b = socket.socketpair(); select.select([0, a], [], [])", True),
        ("import select, socket; a, b = socket.socketpair(); select.select([a], [], [0, a])", False),
        (
            "import select, socket\na, b = socket.socketpair(); p = select.poll(); p.register(0, 1); p.register(a, 1); p.poll()",
            True,
        ),
        ("import select, socket\na, b = socket.socketpair(); p = select.poll(); p.register(a, 1); p.poll()", False),
        ("import select; p = select.poll(); p.register(0, select.POLLHUP); p.poll()", False),
        ("import os; os.read(os.open('/dev/pts/ptmx', os.O_RDWR | os.O_NOCTTY), 1)", False),
        ("import time; time.sleep(60)", False),
    ],
)
def test_who_selects_a_terminal_reads_it_and_nobody_else(wait: str, reads: bool) -> None:
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", f"print('up', flush=True)\n{wait}"], stdin=terminal, stdout=terminal
    ) as running:
        os.read(controller, 100)

        def waits() -> bool:
            found = kernel.facts(running.pid)
            return found is not None and found.state == "S" and found.call not in ("", "openat")

        assert until(waits)
        time.sleep(0.3)
        found = kernel.facts(running.pid)
        running.kill()
    os.close(controller)
    os.close(terminal)
    assert found is not None
    assert found.at_terminal == reads


# The process that looks, and what it takes.


def watch(said: list[str], subjects: list[Subject]) -> StallWatch:
    """A watcher's handle, whose watcher is forked at once."""
    found = StallWatch(1.0, lambda: subjects, None, Audience([], said))
    found.output = 0.0
    return found


def test_a_watcher_that_takes_nothing_holds_up_nobody_and_is_replaced() -> None:
    said: list[str] = []
    poller = select.poll()
    found = watch(said, [Subject(rank, rank, os.getpid()) for rank in range(80)])
    try:
        found.step(poller, [])
        os.kill(found.pid, signal.SIGSTOP)
        began = time.monotonic()
        for _ in range(80):
            found.changed()
        assert time.monotonic() - began < 2
        found.step(poller, [])
        assert said == [f"{LOST}; another one follows"]
        for _ in range(2):
            found.output = 0.0
            found.step(poller, [])
            os.kill(found.pid, signal.SIGKILL)
            assert until(lambda: bool(poller.poll(0)))
            found.step(poller, poller.poll(0))
    finally:
        found.end(poller)
    assert said[1:] == [f"{LOST}; another one follows", f"{LOST}; there is none now"]
    assert found.due is None


def test_a_watcher_that_does_not_come_back_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("accel_launch.running.onlookers.stall.moments.time.monotonic", lambda: clock[0])
    back = moments.Moment()
    absence = moments.Absence(back)

    def at(seconds: float, wants: float) -> bool:
        clock[0] = seconds
        if wants:
            back.set(wants)
        return absence.proven()

    assert not at(111, 113)
    assert not at(114, 0)  # it is late; or all of us were stopped
    assert not at(120, 123)
    assert not at(125, 128)
    assert not at(129, 0)
    assert not at(138, 0)
    assert at(140, 0)


@pytest.mark.exhaustive
def test_a_stopped_watcher_is_replaced_and_the_hang_is_told(launched: Start, script: Script) -> None:
    running = launched("--cpu", "--num_processes", "3", "--grace", "1", "--stall_after", "20", script(HANGS))
    assert until(lambda: bool(watcher_of(running.pid)), 20)
    os.kill(watcher_of(running.pid), signal.SIGSTOP)
    assert running.stderr is not None
    lines = iter(running.stderr.readline, "")
    assert next(line for line in lines if LOST in line) == f"accel: note: {LOST}; another one follows\n"
    head = next(line for line in lines if "standing still" in line)
    running.terminate()
    assert int(re.findall(r"for (\d+) s", head)[0]) >= 20


def test_another_watcher_counts_from_when_the_run_last_moved() -> None:
    said: list[str] = []
    poller = select.poll()
    found = watch(said, [Subject(0, 0, os.getpid())])
    try:
        found.step(poller, [])
        assert found.moments is not None
        found.moments.moved.set(55.0)
        os.kill(found.pid, signal.SIGKILL)
        assert until(lambda: bool(poller.poll(0)))
        found.step(poller, poller.poll(0))
    finally:
        found.end(poller)
    assert (found.output, found.due) == (55.0, 0.0)


# Who is to blame.


@pytest.mark.parametrize(
    ("kinds", "blamed"),
    [
        (["waiting", "still", "waiting"], (1,)),
        (["ended", "still", "waiting"], (1,)),  # it may well have been done
        (["ended", "waiting", "waiting"], (0,)),
        (["ended", "still", "ended"], (1,)),
        (["ended", "still", "still"], ()),
        (["still", "still"], ()),
        (["waiting", "waiting"], ()),
        (["still"], ()),
    ],
)
def test_who_is_not_where_the_others_wait(kinds: list[str], blamed: tuple[int, ...]) -> None:
    assert odd(dict(enumerate(kinds))) == blamed


def standing(*groups: Group) -> Stall:
    """A standstill of ranks of which none waits in a collective."""
    kinds = {rank: "ended" if group.ended else "still" for group in groups for rank in group.ranks}
    return Stall(9.0, 4.0, tuple(sorted(kinds)), groups, kinds, odd(kinds))


def test_where_no_rank_waits_none_is_blamed_but_one_that_is_alone() -> None:
    load, save, rest = (Group((rank,), f"train.py:{rank} f", file="/train.py") for rank in range(3))
    gone = Group((3,), "ended: exit status 0", ended=True)
    assert standing(load, save, rest).blameless == standing(load, save, gone).blameless == APART
    assert f": {APART}\n" in standing(load, save).text()
    assert standing(load, save).as_json()["culprit"] is None
    assert "rank 1: train.py:1 f" in standing(load, save).cause
    fewer = standing(load, save.replace(ranks=(1, 2)))
    assert (fewer.blameless, fewer.culprit) == ("", 0)
    alone = standing(load, gone)
    assert (alone.odd, alone.blameless, alone.as_json()["culprit"]) == ((0,), "", 0)


def test_all_that_are_elsewhere_are_in_the_cause() -> None:
    groups = (
        Group((0,), "train.py:3 f > sleep"),
        Group((2,), "train.py:9 g > a lock"),
        Group((1,), "train.py:5 f > torch all_reduce, waiting", collective=True),
    )
    kinds = {0: "still", 1: "waiting", 2: "still"}
    found = Stall(9.0, 4.0, (0, 1, 2), groups, kinds, odd(kinds))
    assert found.cause == "standing still for 5 s: rank 0: train.py:3 f > sleep; rank 2: train.py:9 g > a lock"
    together = found.replace(groups=(groups[0].replace(ranks=(0, 2)), groups[2]))
    assert together.cause == "standing still for 5 s: ranks 0, 2: train.py:3 f > sleep"
    loops = together.replace(kinds={**kinds, 2: "looping"}, odd=(2,))
    assert loops.cause == "standing still for 5 s: train.py:3 f > sleep, always at the same lines"
    fewer = standing(groups[0].replace(ranks=(1, 3)), groups[1].replace(ranks=(0, 2, 4)))
    assert fewer.cause == "standing still for 5 s: ranks 1, 3: train.py:3 f > sleep"


def test_files_of_one_name_are_told_apart() -> None:
    ranks = [
        RankStack(rank, rank, 0, Process(FACTS), Place(f"/lib/{'ab'[rank > 1]}/util.py", 3, "sync", collective=True))
        for rank in range(3)
    ]
    assert [(group.ranks, group.doing) for group in grouped(ranks)] == [
        ((2,), "/lib/b/util.py:3 sync, waiting"),
        ((0, 1), "/lib/a/util.py:3 sync, waiting"),
    ]


def test_what_goes_wrong_where_a_standstill_is_told_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    found = watch(said, [])

    def fail() -> None:
        raise ImportError("gone")

    monkeypatch.setattr(handle, "_load", fail)
    found.step(select.poll(), [])
    assert said == ["nobody looks for hangs any more: gone"]
    assert found.due is None


def test_what_a_standstill_takes_is_loaded_before() -> None:
    """Another version may be installed meanwhile."""
    code = (
        "import os, sys\nfrom accel_launch.running.onlookers.stall import handle\nhandle._load()\n"
        "sys.path[:] = []\nsys.meta_path[:] = []\n"
        "from accel_launch.running.onlookers.stall.telling import Stall, paused\n"
        "from accel_launch.machine.clock import duration\n"
        "from accel_launch.inspecting import report\n"
        "found = Stall(2.0, 1.0, (0,), (), {0: 'still'})\n"
        "print(Stall.from_json(found.as_json()).text(), paused([0]), report.brief({'ranks': [], 'groups': []}, 1, 9))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_where_no_descriptor_is_left_nobody_looks_and_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    sent: list[object] = []
    look = Glance(tuple, cast("Any", SimpleNamespace(send=sent.append)))
    last, poller = LastLook(tuple), select.poll()
    gather = Gathering(iter([1]), cast("Any", SimpleNamespace(standings=dict)))
    look.wanted = True
    file = os.open(os.devnull, os.O_RDONLY)
    monkeypatch.setattr(gathering, "memory_file", lambda _name: file)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) - 1, limits[1]))
    try:
        look.step(poller, [])
        assert not last.begin(poller, lambda _found: None)
        assert gather.begin() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (look.pid, last.pid) == (0, 0)
    assert len(sent) == 2  # held, and let go of


def test_the_time_that_reading_takes_is_no_part_of_the_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch)
    played.look(0)
    told: list[Stall] = []
    monkeypatch.setattr(time, "time", lambda: played.now + 5000)

    def slow(_ranks: object, **_how: object) -> Snapshot:
        at = time.time()
        played.now += 7
        return Snapshot(at, (RankStack(0, 0, 10, None),))

    monkeypatch.setattr(snapshot, "take", slow)
    played.look(300)
    latest = snapshot.take([])
    told.append(watcher._stall(played.watcher, latest, Verdict({0: "still"}, {})))
    assert (told[0].since, told[0].at) == (6000.0, 6307.0)


# Files of ours.


def test_a_folder_in_which_others_can_write_takes_no_stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    victim, ours = tmp_path / "victim", tmp_path / "accel"
    victim.mkdir(mode=0o700)
    ours.mkdir()
    old = victim / "stacks_precious.txt"
    old.touch()
    os.utime(old, (0, 0))
    (ours / "stacks").symlink_to(victim)
    ours.chmod(0o777)
    folder = str(ours / "stacks")
    assert "others can write to" in Keeper(folder, "brave-otter").keep(STOOD, EMPTY)
    cleaning._clean_stacks(folder, 60)
    assert [each.name for each in victim.iterdir()] == [old.name]
    ours.chmod(0o755)  # the link is the user's own then
    assert Keeper(folder, "brave-otter").keep(STOOD, EMPTY).startswith("the stacks of every thread: ")
    cleaning._clean_stacks(folder, 60)
    assert not old.exists()
    shutil.rmtree(victim)
    assert keeping.home(os.environ) == folder


@pytest.mark.exhaustive
def test_whole_stacks_are_kept_of_the_latest_standstills_only(
    accelerate: Run, script: Script, tmp_path: Path
) -> None:
    text = "import time\nfor _ in range(11):\n    time.sleep(1.8)\n    print('up', flush=True)\n"
    report = tmp_path / "report.json"
    flags = ("-q", "--cpu", "--num_processes", "2", "--stall_after", "1", "--report", str(report))
    assert accelerate("launch", *flags, script(text), timeout=60).returncode == 0
    stalls = json.loads(report.read_text())["stalls"]
    assert len(stalls) > 9
    assert [bool(each["ranks_stacks"] if "ranks_stacks" in each else each["stacks"]) for each in stalls[-9:]] == [
        False,
        *[True] * 8,
    ]
