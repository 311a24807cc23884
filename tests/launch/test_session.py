"""The Python API: from a thread, cancelled, called back, in a notebook."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from accel_config import AccelError
from accel_launch import Command, Event, Plan, Result, run, stacks
from accel_launch.planning.types import Display, Watching
from tests.launch.processes import PAUSE, Script, gone, marked, until


def ranks(path: Path, count: int = 2, **more: str) -> Plan:
    return Plan(
        "local",
        tuple(
            Command((sys.executable, "-u", str(path)), {"RANK": str(rank), **more}, rank=rank, local_rank=rank)
            for rank in range(count)
        ),
        grace=2,
    )


def test_from_a_thread_with_events(script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    path = script("import os; os.write(1, b'rank %d\\n' % int(os.environ['RANK']))")
    events: list[Event] = []
    results: list[Result] = []
    called: set[threading.Thread] = set()

    def seen(event: Event) -> None:
        events.append(event)
        called.add(threading.current_thread())

    thread = threading.Thread(target=lambda: results.append(run(ranks(path), on_event=seen)))
    thread.start()
    thread.join(20)
    assert called == {thread}
    assert results[0].status == 0
    assert sorted(capfd.readouterr().out.splitlines()) == ["rank 0", "rank 1"]
    for rank in (0, 1):
        assert [event.kind for event in events if event.rank == rank] == ["started", "ended"]
    assert all(event.ending is not None for event in events if event.kind == "ended")


def test_a_command_has_the_folder_that_it_asks_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(Plan("local", (Command(("/bin/pwd",), {}, cwd=str(tmp_path)),))).status == 0
    assert capfd.readouterr().out == f"{tmp_path}\n"


def test_a_standstill_is_an_event_and_stacks_can_be_read_meanwhile(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", f"{tmp_path}.state")
    go = tmp_path / "go"
    os.mkfifo(go)  # both ranks wait in one call
    text = f"import os, time\ndef hold():\n    os.close(os.open({str(go)!r}, os.O_RDONLY))\n"
    made = ranks(script(text + "hold()\nprint(flush=True)\ntime.sleep(0.6)\n")).replace(watching=Watching(1.0))
    events: list[Event] = []
    read: list[dict[str, Any]] = []

    def seen(event: Event) -> None:
        events.append(event)
        if event.kind == "stalled" and not read:  # it may be told again before the ranks have moved
            read.extend(stacks(which, variables=True) for which in (None, event.pid))
            read.append(stacks(read[0]["run"][:-1]))
            os.close(os.open(go, os.O_WRONLY))

    assert run(made, on_event=seen).status == 0
    stalled, *_again, moves = [event for event in events if event.kind not in ("started", "ended")]
    assert (stalled.kind, stalled.rank, moves.kind, moves.rank) == ("stalled", 0, "moves", -1)
    assert stalled.pid == next(event.pid for event in events if event.rank == 0)
    assert stalled.stall is not None
    assert [(group.ranks, group.function) for group in stalled.stall.groups] == [((0, 1), "hold")]
    assert stalled.stall.stacks[0]["process"]["threads"][0]["frames"]
    for found in read:
        assert [rank["rank"] for rank in found["ranks"]] == [0, 1]
        assert found["launcher"] == read[0]["launcher"]
        assert {group["function"] for group in found["groups"]} == {"hold"}
    with pytest.raises(AccelError, match="no run"):
        stacks()


def test_a_failing_script_is_a_result(script: Script) -> None:
    result = run(ranks(script("import os, sys, time\nos.environ['RANK'] == '1' and sys.exit(7)\ntime.sleep(60)")))
    assert result.status == 7
    assert result.failure is not None
    assert result.failure.ending.rank == 1


def test_cancelled(script: Script) -> None:
    cancel = threading.Event()
    pids: list[int] = []

    def seen(event: Event) -> None:
        pids.append(event.pid)
        if len(pids) == 2:
            cancel.set()

    started = time.monotonic()
    result = run(ranks(script("import time; time.sleep(60)")), on_event=seen, cancel=cancel)
    assert (result.status, result.failure) == (143, None)
    assert gone(pids, 0)
    assert time.monotonic() - started < 10


def test_a_result_says_when_it_was_cancelled(script: Script) -> None:
    """Not when the ranks had ended, which may take them a while."""
    cancel = threading.Event()
    slow = "signal.signal(15, lambda *_: time.sleep(1) or sys.exit())\nprint(flush=True)\n" + PAUSE
    thread = threading.Timer(1.5, cancel.set)
    thread.start()
    result = run(ranks(script(f"import signal, sys, time\n{slow}"), 1), cancel=cancel)
    assert (result.status, result.failure) == (143, None)
    assert result.at is not None
    assert result.at < result.endings[0].at - 0.9


def test_output_goes_where_the_caller_shows_it(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stdout", shown)
    path = script("import os, time; os.write(1, b'caf\\xc3'); time.sleep(0.3); os.write(1, b'\\xa9\\n')")
    assert run(ranks(path, 1)).status == 0
    assert shown.getvalue() == "caf\u00e9\n"


def test_a_callback_that_raises_ends_the_run(script: Script) -> None:
    pids: list[int] = []

    def seen(event: Event) -> None:
        pids.append(event.pid)
        if len(pids) == 2:
            raise LookupError("the caller's own")

    started = time.monotonic()
    with pytest.raises(LookupError, match="the caller's own"):
        run(ranks(script("import time; time.sleep(60)")), on_event=seen)
    assert gone(pids, 0)
    assert time.monotonic() - started < 10


def test_what_cannot_be_run_is_an_error(script: Script) -> None:
    plan = ranks(script("")).replace(display=Display(log_dir="/proc/no", kept=(3, 3)))
    with pytest.raises(AccelError, match=r"log_dir /proc/no: .*; nothing was started"):
        run(plan)


def test_a_launcher_that_is_killed_is_an_error(script: Script) -> None:
    pids: list[int] = []
    before = psutil.Process().children()  # servers of other tests

    def kill(event: Event) -> None:
        pids.append(event.pid)
        if len(pids) == 2:
            (launcher,) = (child for child in psutil.Process().children() if child not in before)
            launcher.kill()

    with pytest.raises(AccelError, match="ended with status -9 before it returned a result") as error:
        run(ranks(script("import time; time.sleep(60)")), on_event=kill)
    assert error.value.status == 1
    assert gone(pids)


def test_a_caller_that_dies_takes_its_run_along(script: Script, environ: dict[str, str], mark: str) -> None:
    path = script("import time; time.sleep(60)")
    code = (
        "import sys; from accel_launch import Command, Plan, run\n"
        f"run(Plan('local', tuple(Command((sys.executable, {str(path)!r}), {{}}, rank=r, local_rank=r) for r in (0, 1))))\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], env=environ)
    # The caller, the launcher's process, the guardian and two ranks.
    assert until(lambda: len(marked(mark)) == 5)
    caller.kill()
    caller.wait(10)
    assert until(lambda: not marked(mark), 5)


def test_no_descriptor_is_left_open(script: Script) -> None:
    path = script("")
    run(ranks(path))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _turn in range(3):
        run(ranks(path))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
