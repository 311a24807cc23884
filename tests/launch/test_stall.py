"""Runs that stand still are told, with the rank to blame; runs that only are quiet aren't."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from accel_launch.inspecting import kernel, sampling, snapshot
from accel_launch.inspecting.groups import HIDDEN, Group
from accel_launch.inspecting.kernel import Facts
from accel_launch.inspecting.places import Place
from accel_launch.inspecting.snapshot import Process, RankStack, Snapshot
from accel_launch.inspecting.subject import Subject
from accel_launch.inspecting.threads import Frame, Thread
from accel_launch.machine.clock import duration
from accel_launch.running.onlookers.stall import activity, sweeping
from accel_launch.running.onlookers.stall.activity import Activity, Counters
from accel_launch.running.onlookers.stall.handle import LOST
from accel_launch.running.onlookers.stall.keeping import Keeper
from accel_launch.running.onlookers.stall.sweeping import gets_on, looks_at
from accel_launch.running.onlookers.stall.telling import Stall
from accel_launch.running.onlookers.stall.verdict import Look, judge
from accel_launch.running.onlookers.stall.window import Window
from tests.conftest import ROOT, Run, needs_torch
from tests.launch.processes import Script, Start, until
from tests.schedule import sampled

N2 = ("-q", "--cpu", "--num_processes", "2", "--grace", "1")
ME = "import os, sys, threading, time\nrank = int(os.environ['RANK'])\n"
STUCK = (
    ME + "def wait():\n    threading.Event().wait()\ndef rest():\n    time.sleep(1000)\nwait() if rank else rest()\n"
)


# Real runs.


def test_standing_still_is_told_once_and_again_at_twice_the_time(launched: Start, script: Script) -> None:
    running = launched(*N2, "--stall_after", "1.5", script(STUCK))
    assert running.stderr is not None
    err = ""
    while err.count("standing still for") < 2:
        err += next(running.stderr)
    running.terminate()
    err += running.communicate(timeout=20)[1]
    first, second = (int(found) for found in re.findall(r"standing still for (\d+) s", err))
    assert second >= first
    assert "  1 of 2 ranks (0): script1.py:6 rest > sleep\n" in err
    assert "  1 of 2 ranks (1): script1.py:4 wait > threading Event.wait > threading" in err


def test_end_ends_the_run_with_124_and_the_report_has_it(accelerate: Run, script: Script, tmp_path: Path) -> None:
    flags = ("--stall_after", "1.5", "--stall_action", "end", "--report", tmp_path / "report.json")
    done = accelerate("launch", *N2[:-3], "3", *N2[-2:], *flags, script(STUCK))
    assert done.returncode == 124
    assert "accel: rank 0 (local rank 0, pid" in done.stderr
    assert "  cause: standing still for 2 s: script1.py:6 rest > sleep\n" in done.stderr
    assert "the run moves again" not in done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(report, json.loads((ROOT / "docs/report.schema.json").read_text()))
    (stall,) = report["stalls"]
    (shown,) = report["stacks"]
    assert shown["why"] == "stall"
    assert shown["ranks"] == stall["stacks"]
    assert [rank["process"]["threads"][0]["frames"][-2]["function"] for rank in stall["stacks"]] == [
        "rest",
        "wait",
        "wait",
    ]
    assert (
        "accel: what the ranks did when standing still ended the run:\n  1 of 3 ranks (0): script1.py:6 rest"
        in done.stderr
    )
    assert "      rest (" in done.stderr
    assert stall["kinds"] == {"0": "still", "1": "still", "2": "still"}
    assert (stall["odd"], stall["culprit"]) == ([], 0)
    assert [group["function"] for group in stall["groups"]] == ["rest", "wait"]


@pytest.mark.exhaustive
def test_a_mismatch_that_ends_the_run_is_said_at_the_end_and_blames_no_rank(
    accelerate: Run, script: Script, tmp_path: Path
) -> None:
    library = tmp_path / "site-packages/torch/distributed/c10d.py"
    library.parent.mkdir(parents=True)
    library.write_text("import time\ndef barrier(): time.sleep(1000)\ndef all_reduce(): time.sleep(1000)\n")
    text = ME + f"sys.path.insert(0, {str(library.parent)!r})\nimport c10d\nif rank == 0:\n    c10d.barrier()\n"
    flags = ("--stall_after", "1.5", "--stall_action", "end", "--report", tmp_path / "report.json")
    done = accelerate("launch", *N2[:-3], "3", *N2[-2:], *flags, script(text + "c10d.all_reduce()\n"))
    assert done.returncode == 124
    places = (
        "rank 0: script1.py:6 <module> > torch barrier, waiting; ranks 1-2: script1.py:7 <module> > torch all_reduce"
    )
    _before, head, end = done.stderr.rpartition("accel: the ranks wait in different collectives\n")
    assert head, done.stderr
    assert end.startswith("  cause: standing still for ")
    assert f": the ranks wait in different collectives: {places}, waiting\n" in end
    assert "failed first" not in done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["stalls"][0]["mismatch"]
    assert places in report["failure"]["cause"]


@pytest.mark.exhaustive
def test_stacks_writes_each_standstill_to_a_file_of_the_log_folder(
    launched: Start, script: Script, tmp_path: Path
) -> None:
    text = STUCK.replace("wait() if", "threading.Thread(target=rest, name='Pump').start()\nwait() if")
    flags = ("--stall_after", "1.2", "--stall_action", "stacks", "--log_dir", tmp_path / "logs")
    running = launched(*N2, *flags, script(text))
    assert running.stderr is not None
    lines = iter(running.stderr.readline, "")
    told = [next(line for line in lines if "stacks of every thread" in line) for _ in range(2)]
    running.terminate()
    running.communicate(timeout=20)
    paths = [Path(line.partition(": the stacks of every thread: ")[2].strip()) for line in told]
    assert len(set(paths)) == 2
    for path in paths:
        assert path.parent.parent == tmp_path / "logs"
        written = path.read_text()
        assert written.startswith("accel: standing still for ")
        assert written.count(" Pump\n") == 2
        assert "wait (" in written


def test_without_a_log_folder_the_user_s_own_is_named(
    launched: Start, script: Script, environ: dict[str, str]
) -> None:
    running = launched(*N2, "--stall_after", "1", "--stall_action", "stacks", script(STUCK))
    assert running.stderr is not None
    line = next(line for line in iter(running.stderr.readline, "") if "stacks of every thread" in line)
    path = Path(line.partition(": the stacks of every thread: ")[2].strip())
    assert path.parent == Path(environ["XDG_STATE_HOME"]) / "accel" / "stacks"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    running.terminate()
    running.communicate(timeout=20)
    assert path.exists()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_stacks_that_cant_be_written_are_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = Keeper(str(tmp_path / "file" / "stacks"), "brave-otter").keep(
        stall(Group((0,), "x")), {"ranks": [], "groups": []}
    )
    assert told == f"note: the stacks of every thread can't be written to {tmp_path}/file/stacks: Not a directory"


@pytest.mark.exhaustive
def test_a_loop_is_told_where_others_wait(accelerate: Run, script: Script) -> None:
    text = (
        ME
        + "def done():\n    return False\ndef spin():\n    while not done():\n        pass\nspin() if rank else time.sleep(1000)\n"
    )
    done = accelerate("launch", *N2, "--stall_after", "2", "--stall_action", "end", script(text))
    assert "  1 of 2 ranks (1): script1.py:" in done.stderr
    assert " spin, running, always at the same lines\n" in done.stderr


def test_the_rank_that_ended_is_told(accelerate: Run, script: Script) -> None:
    text = ME + "sys.exit() if rank else time.sleep(1000)\n"
    done = accelerate("launch", *N2, "--stall_after", "1.5", "--stall_action", "end", script(text))
    assert "  1 of 2 ranks (1): ended: exit status 0\n" in done.stderr
    assert done.returncode == 124


@pytest.mark.exhaustive
@needs_torch
def test_a_rank_that_is_elsewhere_comes_before_those_that_wait_for_it(accelerate: Run, script: Script) -> None:
    text = (
        ME + "import torch, torch.distributed as dist\ndist.init_process_group('gloo')\n"
        "def step():\n    if rank == 1: time.sleep(1000)\n    dist.all_reduce(torch.ones(1))\nstep()\n"
    )
    done = accelerate(
        "launch", *N2[:-3], "3", "--grace", "1", "--stall_after", "4", "--stall_action", "end", script(text)
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("  ")]
    assert lines[0] == "  1 of 3 ranks (1): script1.py:6 step > sleep"
    assert lines[1] == "  2 of 3 ranks (0, 2): script1.py:7 step > torch all_reduce, waiting"
    assert "accel: rank 1 (local rank 1" in done.stderr


@pytest.mark.exhaustive
@needs_torch
@pytest.mark.parametrize("engine", ["torchrun"])
def test_also_under_torch_s_agent(accelerate: Run, script: Script, engine: str) -> None:
    flags = ("--engine", engine, "--stall_after", "3", "--stall_action", "end")
    done = accelerate("launch", *N2, *flags, script(STUCK))
    assert done.returncode == 124, done.stderr
    assert "  1 of 2 ranks (0): script1.py:6 rest > sleep\n" in done.stderr


@pytest.mark.parametrize(
    "quiet",
    sampled(
        [
            "x = 0\nwhile time.monotonic() < end: x += 1",
            "while time.monotonic() < end: print('.', end='', flush=True); time.sleep(0.3)",
            "while time.monotonic() < end: open(f'out{rank}', 'wb').write(bytes(99999)); time.sleep(0.3)",
            "import subprocess\nsubprocess.run([sys.executable, '-c', 'import time\\nend = time.monotonic() + 5\\nwhile time.monotonic() < end: pass'])",
            "def a(): time.sleep(0.4)\ndef b(): time.sleep(0.4)\ndef c(): time.sleep(0.4)\nwhile time.monotonic() < end: a(); b(); c()",
        ],
        every=5,
    ),
    ids=["computes", "prints", "writes", "child", "sleeps"],
)
def test_quiet_is_not_still(accelerate: Run, script: Script, quiet: str) -> None:
    text = ME + f"end = time.monotonic() + 5\n{quiet}\n"
    done = accelerate("launch", *N2, "--stall_after", "1.5", script(text))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.exhaustive
def test_moving_again_is_told(launched: Start, script: Script, tmp_path: Path) -> None:
    text = (
        ME
        + f"print('up', flush=True)\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.05)\nprint('on', flush=True)\ntime.sleep(2)\n"
    )
    running = launched(*N2, "--stall_after", "1", script(text))
    time.sleep(3)
    (tmp_path / "go").touch()
    _out, err = running.communicate(timeout=20)
    assert "accel: the run moves again, after " in err
    assert running.returncode == 0


@pytest.mark.exhaustive
@pytest.mark.parametrize("how", sampled(["a signal", "a failure", "a stop"], every=3))
def test_what_ends_or_stops_a_run_does_not_move_it(launched: Start, script: Script, tmp_path: Path, how: str) -> None:
    """Ranks that are asked to end print something, and need their time; a rank that fails prints its traceback."""
    leave = "print('leaving', flush=True); time.sleep(0.8); sys.exit(3)"
    text = (
        f"{ME}import signal\ndef leave(*_):\n    {leave}\nsignal.signal(signal.SIGTERM, leave)\n"
        f"while not (rank and os.path.exists({str(tmp_path / 'go')!r})): time.sleep(0.05)\nleave()\n"
    )
    running = launched(*N2[:-1], "10", "--stall_after", "1", script(text), new_session=True)
    assert running.stderr is not None
    told = iter(running.stderr.readline, "")
    next(line for line in told if "standing still" in line)
    if how == "a failure":
        (tmp_path / "go").touch()
    elif how == "a stop":
        running.send_signal(signal.SIGTSTP)
        time.sleep(2)
        running.send_signal(signal.SIGCONT)
        next(line for line in told if "standing still" in line)
    if how != "a failure":
        running.terminate()
    assert running.stdout is not None
    assert "leaving" in running.stdout.read()
    assert "moves again" not in "".join(told)


@pytest.mark.exhaustive
def test_never_where_it_is_switched_off(accelerate: Run, script: Script) -> None:
    done = accelerate("launch", *N2, "--stall_after", "0", script("import time; time.sleep(3)"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "prompt",
    [
        "breakpoint()",
        "thread = threading.Thread(target=lambda: breakpoint())\n    thread.start()\n    thread.join()",
        "import subprocess\n    subprocess.run([sys.executable, '-c', 'breakpoint()'])",
    ],
    ids=["script", "thread", "child"],
)
def test_a_prompt_is_said_as_such_and_never_ended(script: Script, launched: Start, prompt: str) -> None:
    controller, terminal = pty.openpty()
    path = script(ME + f"if rank == 0:\n    {prompt}\ntime.sleep(1000)\n")
    running = launched(*N2, "--stall_after", "1", "--stall_action", "end", path, stdin=terminal)
    time.sleep(5)
    assert running.poll() is None
    running.terminate()
    _out, err = running.communicate(timeout=20)
    assert "accel: rank 0 at a prompt or under a debugger: not counted as standing still\n" in err
    assert "standing still for" not in err
    os.close(controller)
    os.close(terminal)


@pytest.mark.exhaustive
def test_a_stopped_job_is_not_still(launched: Start, script: Script) -> None:
    running = launched(
        *N2, "--stall_after", "1.5", script(ME + "print('up', flush=True)\ntime.sleep(7)\n"), new_session=True
    )
    assert running.stdout is not None
    running.stdout.readline()
    assert until(lambda: "accel-watcher" in names_below(running.pid))
    running.send_signal(signal.SIGTSTP)
    time.sleep(4)
    running.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    running.terminate()
    assert "standing still" not in running.communicate(timeout=20)[1]


def test_a_killed_launcher_takes_the_watcher_with_it(launched: Start, script: Script) -> None:
    running = launched(*N2, "--stall_after", "1", script(STUCK))
    assert until(lambda: "accel-watcher" in names_below(running.pid))
    running.kill()
    running.wait(10)  # the fixture looks for what is left


def names_below(pid: int) -> list[str]:
    """Return the names of a process's children."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{child}/comm").read_text().strip() for child in pids]


def test_another_watcher_follows_one_that_was_killed(launched: Start, script: Script) -> None:
    running = launched(*N2, "--stall_after", "2", "--stall_action", "end", script(STUCK))
    assert until(lambda: "accel-watcher" in names_below(running.pid))
    pids = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    (watcher,) = [int(pid) for pid in pids if Path(f"/proc/{pid}/comm").read_text() == "accel-watcher\n"]
    os.kill(watcher, signal.SIGKILL)
    _out, err = running.communicate(timeout=20)
    assert f"accel: note: {LOST}; another one follows\n" in err
    assert running.returncode == 124, err


@pytest.mark.exhaustive
def test_a_single_process_is_watched_where_that_is_asked_for(accelerate: Run, script: Script) -> None:
    path = script("import time\ntime.sleep(1000)\n")
    done = accelerate("launch", "-q", "--cpu", "--stall_after", "1.5", "--stall_action", "end", "--grace", "1", path)
    assert done.returncode == 124
    assert "  1 of 1 rank (0): script1.py:2 <module> > sleep\n" in done.stderr


TWO = "def a(): time.sleep(0.2)\ndef b(): time.sleep(0.2)\nwhile True: a(); b()"


@pytest.mark.parametrize(
    ("text", "busy", "everywhere", "moves"),
    sampled(
        [
            (TWO, False, False, True),
            ("time.sleep(1000)", False, False, False),
            ("while True: hashlib.sha256(data)", True, False, True),
            ("while True: pass", True, False, False),
            ("while True:\n    x = 1\n    f()", True, True, True),
            ("while True:\n    x = 1\n    f()", True, False, False),
        ],
        every=3,
    ),
)
def test_many_looks_at_one_rank_show_whether_it_gets_on(
    script: Script, text: str, busy: bool, everywhere: bool, moves: bool
) -> None:
    path = script(f"import hashlib, time\ndata = bytes(20000000)\ndef f(): pass\nprint(1, flush=True)\n{text}\n")

    def tried() -> bool:
        subject = Subject(0, 0, popen.pid)
        return gets_on(subject, looks_at(subject, busy=busy), everywhere=everywhere)

    with subprocess.Popen((sys.executable, path), stdout=subprocess.PIPE) as popen:
        assert popen.stdout is not None
        popen.stdout.readline()
        tries = [tried()]
        while moves and not tries[-1] and len(tries) < 10:  # on a machine that is overloaded looks are few
            tries.append(tried())
        assert tries[-1] == moves
        popen.kill()


class Swept:
    """Four ranks, of which one at a time is looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sweeps = sweeping.Sweeps(shared=False)
        self.ranks = [Subject(rank, rank, 10 + rank) for rank in range(4)]
        self.does = {rank: look(rank, 1) for rank in range(4)}
        self.busy = dict[int, Activity]()
        self.swept, self.glanced = list[int](), list[int]()
        monkeypatch.setattr(sweeping, "looks_at", self.looks_at)
        monkeypatch.setattr(sweeping, "glance", self.glance)
        monkeypatch.setattr(sweeping, "PAUSE", 0)

    def looks_at(self, subject: Subject, *, busy: bool) -> list[Look]:
        self.swept.append(subject.rank)
        return [self.does[subject.rank].replace(busy=busy)] * 10

    def glance(self, subject: Subject, *, busy: bool) -> Look:
        self.glanced.append(subject.rank)
        return self.does[subject.rank].replace(busy=busy)

    def shows(self, *ranks: int) -> bool:
        """Return whether the next look at one of these shows that the run gets on."""
        return self.sweeps.show(self.ranks, {10 + rank for rank in ranks}, self.busy)

    def follow(self, rank: int) -> None:
        """Looks at all ranks have shown that this one gets on."""
        self.sweeps.follow(self.ranks[rank], self.busy)
        self.sweeps.clear()


def test_one_rank_after_the_other_is_looked_at_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = Swept(monkeypatch)
    monkeypatch.setattr(sweeping, "mixed", lambda looks: looks[0].stack.rank == 3)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    assert not swept.shows()
    assert not swept.shows(2)
    assert swept.shows(2, 3)
    assert swept.swept == [2, 3]
    swept.sweeps.clear()
    assert swept.shows(0, 3)
    assert swept.swept == [2, 3, 3]  # it comes first again
    assert not any(swept.shows(0, 1, 2, 3) for _time in range(6))
    assert swept.swept == [2, 3, 3, 0, 1, 2]
    assert swept.glanced == []
    assert not swept.sweeps.suffice


def test_a_rank_that_shows_seldom_that_it_gets_on_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = Swept(monkeypatch)
    swept.follow(2)
    swept.does[2] = look(2, 2)
    assert swept.shows(0, 1, 2, 3)  # it does something else than at the last move
    swept.sweeps.clear()
    swept.glanced.clear()
    assert not any(swept.shows(0, 1, 2, 3) for _time in range(7))
    assert swept.glanced == [2, 2, 3, 3, 0, 0, 2, 1, 1]  # one look that is as before is enough
    assert swept.swept == [2]  # it may have become faster
    assert swept.sweeps.suffice
    swept.does[2] = look(2, 3)
    assert swept.shows(2)
    swept.sweeps.clear()
    swept.sweeps.clear()  # something else has moved since
    swept.does[2] = look(2, 4)
    assert not swept.shows(2)
    swept.does[2] = look(2, 5)
    assert swept.shows(2)


def test_a_loop_is_no_other_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank that computes goes from line to line of a loop; one that naps in two places may get on."""
    swept = Swept(monkeypatch)
    swept.follow(2)
    swept.busy, swept.does[2] = {12: Activity(own=True, children=False)}, look(2, 2)
    assert not swept.shows(2)
    assert swept.sweeps.suffice
    swept.sweeps.clear()
    swept.busy = {}
    swept.follow(2)
    swept.does[2] = look(2, 1)
    assert swept.shows(2)


def test_a_rank_that_computes_elsewhere_gets_on(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = Swept(monkeypatch)
    swept.busy = {12: Activity(own=True, children=False)}
    swept.follow(2)
    swept.does[2] = look(2, 1, 1)
    assert swept.shows(2)
    swept.sweeps.clear()
    assert [swept.shows(2), swept.shows(2)] == [False, False]
    assert swept.swept == []
    monkeypatch.setattr(sampling, "sweep", lambda *_how, **_flags: [])  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    assert swept.shows(2)  # it computes without the interpreter's lock
    assert swept.swept == [2]
    assert not swept.sweeps.suffice  # from now on two seconds are enough


def test_a_rank_that_waits_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = Swept(monkeypatch)
    swept.follow(1)
    swept.does[1] = look(1, 1, place=WAITING)
    assert not any(swept.shows(0, 1, 2, 3) for _time in range(5))
    assert swept.glanced[2:] == [1, 2, 2, 3, 3, 0, 0]
    assert not swept.sweeps.suffice  # another one may get on
    swept.sweeps.clear()
    assert swept.sweeps.suffice  # it comes first, however late that is
    assert not swept.shows(0)
    assert not swept.sweeps.suffice  # the one that showed it hasn't run


@pytest.mark.exhaustive
def test_phases_longer_than_a_look_are_seen(script: Script) -> None:
    phases = "def a():\n    while not ready(): time.sleep(0.1)\ndef b():\n    while not ready(): time.sleep(0.1)\n"
    ready = "def ready(): return select.select([0], [], [], 0)[0] and sys.stdin.readline()\n"
    end = "print(1, flush=True)\n"
    path = script(f"import select, sys, time\n{ready}{phases}while True:\n    {end}    a()\n    {end}    b()\n")
    with subprocess.Popen((sys.executable, path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as popen:
        assert popen.stdin is not None
        assert popen.stdout is not None
        popen.stdout.readline()
        sweeps, ranks = sweeping.Sweeps(shared=False), [Subject(0, 0, popen.pid)]
        shown = [sweeps.show(ranks, {popen.pid}, {})]
        sweeps.follow(ranks[0], {})
        for _time in range(2):
            sweeps.clear()
            shown.append(sweeps.show(ranks, {popen.pid}, {}))
            popen.stdin.write("\n")
            popen.stdin.flush()
            popen.stdout.readline()
            shown.append(sweeps.show(ranks, {popen.pid}, {}))
        popen.kill()
    assert shown == [False, False, True, False, True]


@pytest.mark.exhaustive
def test_a_run_that_gets_on_seldom_is_quiet_until_it_hangs(accelerate: Run, script: Script) -> None:
    phases = "".join(f"def phase{n}(end):\n    while time.monotonic() < end: time.sleep(0.1)\n" for n in range(3))
    text = (
        f"{ME}{phases}began = time.monotonic()\nfor step in range(17): (phase0, phase1, phase2)[step % 3]"
        "(began + 4 * step)\nprint('hangs', time.time(), flush=True)\nphase2(1e9)\n"
    )
    done = accelerate("launch", *N2, "--stall_after", "30", "--stall_action", "end", script(text), timeout=170)
    assert done.returncode == 124, done.stderr
    assert "  2 of 2 ranks (0-1): script1.py:" in done.stderr
    assert " phase2 > sleep" in done.stderr
    assert done.stdout.count("hangs") == 2  # not before


# The verdict.


def look(
    rank: int,
    *lines: int,
    state: str = "S",
    busy: bool = False,
    gil: bool = False,
    place: Place | None = None,
    tracer: int = 0,
) -> Look:
    """Return a look at a rank whose stack has these lines, outermost first."""
    frames = tuple(Frame("f", "/train.py", number) for number in reversed(lines))
    facts = Facts(10 + rank, "python", state, 1.0, 1, tracer=tracer)
    process = Process(facts, (Thread(10 + rank, "MainThread", busy, gil, frames),))
    stack = RankStack(rank, rank, 10 + rank, process, place or Place("/train.py", lines[-1], "f"))
    return Look(stack, busy, tuple(lines), gil)


WAITING = Place("/train.py", 9, "f", ("torch all_reduce",), collective=True)
ASKING = Place("/train.py", 9, "f", collective=True, loop=9)
GOING_ROUND = Place("/train.py", 10, "f", loop=9)
BACKWARD = Place("/train.py", 9, "f", ("torch backward",), collective=True, certain=False)


@pytest.mark.parametrize(
    ("looks", "kind"),
    [
        ([look(0, 1, 2)] * 10, "still"),
        ([look(0, 1, 2), look(0, 1, 3)] * 5, "moving"),
        ([look(0, 1, 2)] * 9 + [look(0, 1, 3)], "moving"),
        ([look(0, 1, 2), look(0, 1, 3)] + [look(0, 1, 2)] * 8, "still"),
        ([look(0, 9, place=WAITING)] * 10, "waiting"),
        ([look(0, 9, n, busy=True, place=WAITING) for n in range(20)], "waiting"),
        ([look(0, 9, busy=True, place=BACKWARD)] * 10, "computing"),
        ([look(0, 9, place=BACKWARD)] * 10, "waiting"),
        ([look(0, n % 3, busy=True, gil=True) for n in range(12)], "looping"),
        ([look(0, n % 3, busy=True, gil=True, place=GOING_ROUND if n % 3 else ASKING) for n in range(12)], "waiting"),
        ([look(0, n % 2, busy=True, gil=True, place=GOING_ROUND) for n in range(12)], "looping"),
        ([look(0, n % 2, busy=True, gil=True, place=Place() if n % 3 else ASKING) for n in range(12)], "looping"),
        ([look(0, n % 2, busy=True, gil=True, place=GOING_ROUND if n else WAITING) for n in range(5)], "looping"),
        ([look(0, n % 3, busy=True) for n in range(12)], "computing"),
        ([look(0, n, busy=True, gil=True) for n in range(12)], "moving"),
        ([look(0, 1, state="T")] * 10, "stopped"),
        ([look(0, 1, tracer=99)] * 10, "paused"),
        ([look(0, 1, place=Place(prompt=True))] * 10, "paused"),
    ],
)
def test_kinds(looks: list[Look], kind: str) -> None:
    assert judge({0: looks}).kinds == {0: kind}


@pytest.mark.parametrize(
    ("kinds", "stalled", "odd"),
    [
        ("waiting still waiting", True, (1,)),
        ("waiting waiting", True, ()),
        ("still still", True, ()),
        ("waiting looping", True, (1,)),
        ("looping looping", False, ()),
        ("waiting moving", False, (1,)),
        ("waiting computing", False, (1,)),
        ("paused waiting", False, (0,)),
        ("waiting stopped", True, (1,)),
        ("waiting ended", True, (1,)),
        ("ended ended", False, ()),
    ],
)
def test_when_a_run_stands_still(kinds: str, stalled: bool, odd: tuple[int, ...]) -> None:
    from accel_launch.running.onlookers.stall.verdict import Verdict

    verdict = Verdict(dict(enumerate(kinds.split())), {})
    assert verdict.stalled == stalled
    if stalled:
        assert verdict.odd == odd


@pytest.mark.parametrize(
    ("looks", "moves"),
    [
        ([look(0, line) for line in (1, 2, 3, 4)], True),
        ([look(0, line) for line in (1, 2, 3)], False),
        ([look(0, line) for line in (1, 1, 2, 3, 4)], False),
        ([look(0, line) for line in (1, 2, 1, 1, 2, 2)], True),
        ([look(0, line) for line in (1, 1, 1, 1, 2, 2)], False),
        ([look(0, line, place=WAITING) for line in (1, 2, 3, 4)], False),
        ([look(0, 1, busy=True)] * 12, True),
        ([look(0, 1, busy=True)] * 11, False),
        ([look(0, 1, busy=True, gil=not n % 3) for n in range(12)], False),
        ([look(0, 1, busy=True, place=WAITING)] * 12, False),
    ],
)
def test_one_rank_that_surely_gets_on_is_enough(
    monkeypatch: pytest.MonkeyPatch, looks: list[Look], moves: bool
) -> None:
    window = Window(20)
    window.looks[0] = looks
    monkeypatch.setattr(snapshot, "take", lambda _subjects, **_how: Snapshot(0.0, ()))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    assert window.look([], {}) == (0 if moves else None)


def test_a_loop_takes_more_looks_than_a_rank_that_is_still() -> None:
    window, ranks = Window(20), [Subject(0, 0, 10), Subject(1, 1, 11)]
    window.looks = {0: [look(0, 9, place=WAITING)] * 3, 1: [look(1, 5)] * 3}
    assert window.is_enough(ranks)
    window.looks[1] = [look(1, 5 + n % 2, busy=True, gil=True) for n in range(39)]
    assert not window.is_enough(ranks)
    window.looks[1].append(look(1, 5, busy=True, gil=True))
    assert window.is_enough(ranks)
    window.looks[0].pop()
    assert not window.is_enough(ranks)


def test_a_rank_that_hardly_runs_is_not_read_thread_by_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    meter, read = activity.Meter(300), list[int]()
    seen = activity._counters

    def counters(pid: int, below: list[int]) -> Counters:
        read.append(pid)
        return seen(pid, below)

    monkeypatch.setattr(activity, "_counters", counters)
    monkeypatch.setattr(activity, "ROUNDED", 0.0)  # so that a moment shows it
    with subprocess.Popen(["sleep", "100"]) as still:
        me = os.getpid()
        assert meter.read([me, still.pid]) == {}
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
        found = meter.read([me, still.pid])
        still.kill()
    assert (found[me].own, found[still.pid].own) == (True, False)
    assert read == [me, still.pid, me]


def test_a_file_that_is_read_again_stays_open_as_long_as_its_process_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = dict[str, int]()
    monkeypatch.setattr(kernel, "_opened", opened)
    monkeypatch.setattr(kernel, "_owner", [os.getpid()])
    monkeypatch.setattr(os, "sysconf", lambda _name: 2 * kernel.PART)  # pyright: ignore[reportUnknownLambdaType]
    with subprocess.Popen(["sleep", "100"]) as still:
        path = f"/proc/{still.pid}/stat"
        assert kernel.again(path).startswith(f"{still.pid} (sleep)")
        fd = opened[path]
        assert kernel.again(path).startswith(f"{still.pid} (sleep)")
        assert opened == {path: fd}
        still.kill()
    assert kernel.again(path) == ""
    assert opened == {}
    assert kernel.again(path) == ""  # there is none any more
    for name in ("stat", "io", "status", "statm"):
        assert kernel.again(f"/proc/self/{name}")
    assert list(opened) == ["/proc/self/status", "/proc/self/statm"]
    for fd in opened.values():
        os.close(fd)


def test_descriptors_of_another_process_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork may have closed them, and opened others in their place."""
    monkeypatch.setattr(kernel, "_opened", {"/proc/self/stat": os.open("/dev/null", os.O_RDONLY), "/proc/1/io": 9999})
    monkeypatch.setattr(kernel, "_owner", [os.getppid()])
    used = kernel._opened["/proc/self/stat"]
    assert kernel.again("/proc/self/stat").startswith(f"{os.getpid()} (")
    assert kernel._opened.keys() == {"/proc/self/stat"}
    os.close(used)  # it wasn't closed
    os.close(kernel._opened["/proc/self/stat"])


def test_a_main_thread_that_has_not_run_is_not_read_again(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    read = "print(0, flush=True)\nsys.stdin.readline()\n"
    path = script(f"import sys\n{read}{read}")
    with subprocess.Popen((sys.executable, path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as popen:
        assert popen.stdin is not None
        assert popen.stdout is not None
        window, ranks, counted = Window(20), [Subject(0, 0, popen.pid)], list[int]()
        take = snapshot.take

        def counting(subjects: list[Subject], *, variables: bool) -> Snapshot:
            counted.append(len(subjects))
            return take(subjects, variables=variables)

        monkeypatch.setattr(snapshot, "take", counting)
        for line in (3, 5):
            popen.stdout.readline()
            assert until(lambda: window.look(ranks, {}) is not None or window.looks[0][-1].stack.place.line == line)  # noqa: B023
            time.sleep(0.05)
            assert until(lambda: not counted.clear() and window.look(ranks, {}) is None and not counted)
            assert window.looks[0][-1].stack.place.line == line
            popen.stdin.write("\n")
            popen.stdin.flush()


def stall(*groups: Group, kinds: dict[int, str] | None = None) -> Stall:
    """Return a standstill of five minutes."""
    ranks = tuple(sorted(rank for group in groups for rank in group.ranks))
    return Stall(1000.0, 700.0, ranks, groups, kinds or dict.fromkeys(ranks, "waiting"))


def test_different_collectives_are_a_mismatch() -> None:
    found = stall(
        Group((2,), "train.py:9 f > torch barrier, waiting"),
        Group((0, 1), "train.py:8 f > torch all_reduce, waiting"),
    )
    assert found.mismatch
    assert ": the ranks wait in different collectives\n" in found.text()
    assert not stall(Group((0, 1), "x")).mismatch


def test_ranks_that_are_all_in_the_same_place_blame_none(accelerate: Run, script: Script) -> None:
    done = accelerate(
        "launch", *N2, "--stall_after", "1", "--stall_action", "end", script("import time\ntime.sleep(1000)\n")
    )
    assert "accel: all ranks are in the same place\n" in done.stderr
    assert "failed first" not in done.stderr
    assert "the same place: ranks 0-1: script1.py:2 <module> > sleep\n" in done.stderr
    assert "  terminated as a result: ranks 0-1\n" in done.stderr
    assert stall(Group((0, 1), "python > sleep")).blameless == HIDDEN
    assert not stall(Group((0,), "x", file="/a")).blameless


def test_the_report_of_a_run_says_who_holds_it_up(launched: Start, script: Script, accelerate: Run) -> None:
    running = launched("-q", "--cpu", "--num_processes", "3", "--stall_after", "1", script(STUCK))
    assert running.stderr is not None
    assert any("standing still" in line for line in running.stderr)
    said = r"  standing still since \S+: 1 of 3 ranks \(0\): script1.py:6 rest > sleep\n"
    assert until(lambda: re.search(said, accelerate("report").stdout) is not None)
    running.terminate()
    assert running.wait(20) == -signal.SIGTERM
    assert re.search(said, accelerate("report").stdout)
    stalls = json.loads(accelerate("report", "--json").stdout)["stalls"]
    assert len({each["since"] for each in stalls}) == 1


def test_what_may_only_take_long_ends_the_run_later(accelerate: Run, script: Script) -> None:
    """An evaluation of few lines looks like a loop without an end."""
    text = (
        ME
        + "import types\nlock = threading.Lock()\nlock.acquire()\nwork = types.SimpleNamespace(wait=lock.acquire)\n"
        "if rank == 0:\n    while True:\n        rank += 0\nwork.wait()\n"
    )
    # A loop is judged by forty looks, which take seconds where other tests run: fewer than four times as long.
    done = accelerate("launch", *N2, "--stall_after", "3", "--stall_action", "end", script(text))
    assert done.returncode == 124
    told = [line.partition(", since")[0] for line in done.stderr.splitlines() if "standing still for" in line]
    assert "  rank 0 computes, and may only be slow\n" in done.stderr
    assert "  so --stall_action end ends the run only after 12 s\n" in done.stderr
    assert len(told) >= 3, told  # two messages before it, at least, and the cause
    assert re.search(r"  cause: standing still for \d+ s: script1\.py:\d+ <module>, running, always at", done.stderr)


def test_a_message_has_at_most_twenty_lines() -> None:
    found = stall(*[Group((rank,), f"train.py:{rank} f") for rank in range(64)])
    lines = found.text("more").splitlines()
    assert len(lines) == 20
    assert lines[-2] == "  and ranks 17-63 elsewhere"
    more = found.replace(unasked=("machine 1",), unread="no right").text("more").splitlines()
    assert (len(more), more[-4]) == (20, "  and ranks 15-63 elsewhere")


def test_a_standstill_survives_the_way_to_the_launcher() -> None:
    found = stall(Group((0,), "x", collective=True, file="/a", line=3, function="f", operations=("torch barrier",)))
    assert Stall.from_json(json.loads(json.dumps(found.as_json()))) == found


@pytest.mark.parametrize(("seconds", "text"), [(4.2, "4 s"), (119, "119 s"), (300, "5 min"), (4800, "1 h 20 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
