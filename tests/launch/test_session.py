"""The Python API: from a thread, cancelled, called back, in a notebook."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from accel_launch import Command, Event, Plan, Result, run
from tests.launch.processes import Script, gone, marked, until


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
    thread = threading.Thread(target=lambda: results.append(run(ranks(path), on_event=events.append)))
    thread.start()
    thread.join(20)
    assert results[0].status == 0
    assert sorted(capfd.readouterr().out.splitlines()) == ["rank 0", "rank 1"]
    assert sorted((event.kind, event.rank) for event in events) == [
        ("ended", 0), ("ended", 1), ("started", 0), ("started", 1),
    ]  # fmt: skip
    assert all(event.ending is not None for event in events if event.kind == "ended")


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


def test_output_goes_where_the_caller_shows_it(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stdout", shown)
    assert run(ranks(script("print('in a cell')"), 1)).status == 0
    assert shown.getvalue() == "in a cell\n"


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
