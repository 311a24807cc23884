"""Ranks are shown with their stacks before they are killed, without delaying that where nothing can be seen."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import jsonschema
import pytest

from accel_launch import Plan
from accel_launch.inspecting import report
from accel_launch.inspecting.subject import Subject
from accel_launch.running.guardian import guardian, teardown
from accel_launch.running.onlookers import last_look
from accel_launch.running.onlookers.showing import HEADS, Showing
from accel_launch.running.onlookers.stall import glance
from accel_launch.running.report.records import Ending
from accel_launch.running.supervising.event_reader import EventReader
from tests.conftest import ROOT, Run, needs_torch
from tests.launch.processes import Script, Start, alive, read_pids, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.running.engine_record import EngineRecord

N2 = ("-q", "--cpu", "--num_processes", "2")
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
STACKS = json.loads((ROOT / "docs/stacks.schema.json").read_text())
DEAF = """\
import os, signal, sys, time
rank = int(os.environ["RANK"])
def hold():
    time.sleep(1000)
if rank == 1:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
if rank == 0 and len(sys.argv) > 1:
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.02)
    sys.exit(3)
hold()
"""
"""Rank 1 outstays the grace; rank 0 fails as soon as the file of the first argument exists."""
SHOWN = "accel: ranks that didn't end within the grace; they are killed now:\n  1 of 2 ranks (1): script1.py:4 hold > sleep\n      hold ("


def saved(path: Path) -> dict[str, Any]:
    """Return a report that its schema allows."""
    found = json.loads(path.read_text())
    jsonschema.validate(found, SCHEMA)
    return found


def test_a_rank_that_outstays_the_grace_is_shown_before_it_is_killed(
    launched: Start, script: Script, tmp_path: Path
) -> None:
    running = launched(*N2, "--grace", "1", "--report", tmp_path / "report.json", script(DEAF))
    pids = read_pids(running, 2)
    running.terminate()
    asked = time.monotonic()
    _out, err = running.communicate(timeout=20)
    assert time.monotonic() - asked < 1 + teardown.LOOK + 1.5
    assert SHOWN in err
    assert err.count("of 2 ranks") == 1  # rank 0 has ended in time
    (shown,) = saved(tmp_path / "report.json")["stacks"]
    assert (shown["why"], [rank["rank"] for rank in shown["ranks"]]) == ("grace", [1])
    assert shown["ranks"][0]["pid"] in pids
    assert shown["ranks"][0]["process"]["threads"][0]["frames"][0]["function"] == "hold"


def test_a_run_whose_ranks_end_in_time_shows_nothing(launched: Start, script: Script, tmp_path: Path) -> None:
    running = launched(*N2, "--report", tmp_path / "report.json", script(DEAF.replace("rank == 1", "rank > 1")))
    read_pids(running, 2)
    running.terminate()
    assert "didn't end within" not in running.communicate(timeout=20)[1]
    assert saved(tmp_path / "report.json")["stacks"] == []


def test_nobody_is_shown_without_a_grace_or_after_a_second_signal(launched: Start, script: Script) -> None:
    for flags, signals in ((("--grace", "0"), 1), (("--grace", "30"), 2)):
        running = launched(*N2, *flags, script(DEAF))
        read_pids(running, 2)
        for _ in range(signals):
            running.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert "didn't end within" not in running.communicate(timeout=20)[1]


def test_a_launcher_that_cant_look_delays_nothing(launched: Start, script: Script, tmp_path: Path) -> None:
    """It is stopped, as by Ctrl-Z; a launcher that is dead delays nothing, as other tests show."""
    running = launched(*N2, "--grace", "0.5", script(DEAF), tmp_path / "go")
    pids = read_pids(running, 2)
    os.kill(running.pid, signal.SIGSTOP)
    (tmp_path / "go").touch()
    began = time.monotonic()
    assert until(lambda: not alive(pids), 10)
    took = time.monotonic() - began
    os.kill(running.pid, signal.SIGCONT)
    assert running.wait(20) == 3
    assert 0.5 <= took < 0.5 + teardown.LOOK


def test_a_look_ends_before_the_guardian_s_patience_does() -> None:
    assert last_look.HURRIED + last_look.MORE < teardown.LOOK
    assert glance.LIMIT < guardian.LOOKING


def test_what_could_not_be_seen_in_time_was_seen_before_or_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    ranks = [Subject(0, 0, 7), Subject(1, 1, 8), Subject(2, 2, 9, "exit status 0")]
    reader = EventReader(-1, lambda place: place, None, said.append)
    shows = Showing(reader, None, Plan("local", (), grace=1.0), lambda: ranks, said.append)
    looks: list[Callable[[dict[str, Any] | None], None]] = []

    def begin(_poller: select.poll, then: Callable[[dict[str, Any] | None], None]) -> bool:
        looks.append(then)
        return True

    monkeypatch.setattr(shows.last, "begin", begin)
    poller = select.poll()

    def outstayed(*, early: dict[str, Any] | None) -> str:
        said.clear()
        reader.late = reader.overdue = True
        shows.step(poller, ())
        before, last = looks[-2:]
        before(early)
        last(None)
        return "".join(said)

    assert outstayed(early=None).endswith("killed now: 0-1; what they do couldn't be seen in time\n")
    shown = outstayed(early=seen(3, 2, 2))
    assert "  1 of 3 ranks (1): train.py:1 f\n      f0 (" in shown
    assert "train.py:2 f" not in shown  # it has ended since


@pytest.mark.exhaustive
@needs_torch
def test_also_under_torch_s_agent(launched: Start, script: Script, tmp_path: Path) -> None:
    running = launched(
        *N2, "--engine", "torchrun", "--grace", "1", "--report", tmp_path / "report.json", script(DEAF)
    )
    read_pids(running, 2)
    running.terminate()
    assert SHOWN in running.communicate(timeout=30)[1]
    assert [shown["why"] for shown in saved(tmp_path / "report.json")["stacks"]] == ["grace"]


@pytest.mark.exhaustive
@needs_torch
def test_a_rank_that_torch_s_agent_kills_is_shown_too(launched: Start, script: Script, tmp_path: Path) -> None:
    """After a failure the agent asks the others to end, and kills them half a minute later."""
    running = launched(*N2, "--engine", "torchrun", "--grace", "1", script(DEAF), tmp_path / "go")
    read_pids(running, 2)
    (tmp_path / "go").touch()
    err = running.communicate(timeout=100)[1]
    assert "killed now" not in err
    head = "accel: ranks that are still there after a failure; torch's agent kills them 30 s after it:"
    assert SHOWN.replace(SHOWN.partition("\n")[0], head) in err
    assert "  terminated as a result: rank 1\n" in err


@pytest.mark.parametrize(
    ("killer", "who"),
    [
        ("the agent kills them in its own time", "the agent kills them in its own time"),
        ("", "rough kills them itself"),
    ],
)
def test_who_kills_ranks_that_outstay_a_failure_is_said(
    monkeypatch: pytest.MonkeyPatch, killer: str, who: str
) -> None:
    said: list[str] = []
    ranks = [Subject(0, 0, 7, "exit status 3"), Subject(1, 1, 8)]
    record = cast("EngineRecord", SimpleNamespace(attempts=[[Ending(0, 0, 7, 3, 0, 1.0)]], unended=(1,)))
    plan = Plan("rough", (), grace=1.0, killer=killer)
    shows = Showing(EventReader(-1, lambda place: place, None, said.append), record, plan, lambda: ranks, said.append)
    looks: list[Callable[[dict[str, Any] | None], None]] = []

    def begin(_poller: select.poll, then: Callable[[dict[str, Any] | None], None], _within: object) -> None:
        looks.append(then)

    monkeypatch.setattr(shows.last, "begin", begin)
    shows.step(select.poll(), ())
    for found in (None, seen(2, 2)):
        said.clear()
        looks[0](found)
        assert said[0].startswith(f"accel: ranks that are still there after a failure; {who}:")


# The message.


def seen(*depths: int) -> dict[str, Any]:
    """Return ranks, each in a group of its own, whose stacks are that deep."""
    groups = [
        {
            "ranks": [rank],
            "doing": f"train.py:{rank} f",
            **dict.fromkeys(("file", "line", "function", "host")),
            "waits_for_others": False,
            "ended": False,
            "operations": [],
        }
        for rank in range(len(depths))
    ]
    frames = [
        {"function": f"f{level}", "file": "/train.py", "line": level or None}
        for level in range(max(depths, default=0))
    ]
    ranks = [
        {"rank": rank, "process": {"pid": 7, "threads": [{"id": 7, "frames": frames[:depth]}]} if depth else None}
        for rank, depth in enumerate(depths)
    ]
    return {"groups": groups, "ranks": ranks}


@pytest.mark.parametrize("depths", [(), (1,), (50,), (3, 50), (50, 0, 50), (9,) * 19, (9,) * 20, (2,) * 64])
def test_a_message_has_few_lines_and_every_rank(depths: tuple[int, ...]) -> None:
    lines = report.brief(seen(*depths), len(depths), 19)
    assert len(lines) <= 19
    told = [line for line in lines if line.startswith("  ") and not line.startswith("   ")]
    assert len(told) == min(len(depths), 19)
    if len(depths) > 19:
        assert told[-1] == f"  and ranks 18-{len(depths) - 1} elsewhere"
    if depths == (50,):
        assert (lines[1], lines[-1], len(lines)) == ("      f0 (/train.py)", "      ...", 19)


OWN, LIBRARY = "/home/me/train.py", "/venv/lib/python3.11/site-packages/torch/nn.py"


def briefly(room: int, *files: str) -> list[str]:
    """Return the lines of a stack, innermost call first, that is shown in so many lines: the functions' numbers."""
    found = seen(len(files))
    found["ranks"][0]["process"]["threads"][0]["frames"] = [
        {"function": f"f{place}", "file": file, "line": 1} for place, file in enumerate(files)
    ]
    head, *lines = report.brief(found, 1, room + 1)
    assert head.startswith("  1 of 1 rank (0): ")
    return [line.strip().partition(" (")[0] for line in lines]


def test_a_deep_stack_is_cut_among_the_frames_of_libraries() -> None:
    own = [OWN, OWN]
    assert briefly(6, *[LIBRARY] * 30, *own) == ["f0", "f1", "f2", "...", "f30", "f31"]
    assert briefly(7, *[LIBRARY] * 9, *own, *[LIBRARY] * 9) == ["f0", "f1", "f2", "...", "f9", "f10", "..."]
    assert briefly(7, OWN, *[LIBRARY] * 9, OWN, *[LIBRARY] * 9, OWN) == ["f0", "f1", "f2", "...", "f10", "...", "f20"]


def test_a_gap_of_one_call_is_that_call() -> None:
    assert briefly(4, LIBRARY, LIBRARY, OWN, *[LIBRARY] * 9) == ["f0", "f1", "f2", "..."]
    assert briefly(6, *[LIBRARY] * 9, OWN, LIBRARY, OWN) == ["f0", "f1", "...", "f9", "f10", "f11"]


def test_of_too_many_own_frames_the_innermost_are_kept() -> None:
    assert briefly(5, LIBRARY, *[OWN] * 30) == ["f0", "f1", "f2", "f3", "..."]
    assert briefly(5, *[LIBRARY] * 5, *[OWN] * 30) == ["f0", "...", "f5", "f6", "..."]


def test_the_innermost_call_stays_where_all_are_a_library_s() -> None:
    assert briefly(4, *[LIBRARY] * 9) == ["f0", "f1", "f2", "..."]
    assert briefly(2, *[LIBRARY] * 9, OWN) == ["f0", "..."]
    assert briefly(1, *[LIBRARY] * 9, OWN) == ["..."]
    assert briefly(9, *[LIBRARY] * 8, OWN) == [f"f{place}" for place in range(9)]


# The schemas.


def test_the_schemas_agree_with_each_other_and_with_the_code(accelerate: Run) -> None:
    shared = STACKS["$defs"]
    assert {name: SCHEMA["$defs"][name] for name in shared} == shared
    assert SCHEMA["properties"]["stacks"]["items"]["properties"]["why"]["enum"] == list(HEADS)


def test_real_stacks_are_as_their_schema_says(launched: Start, script: Script, accelerate: Run) -> None:
    text = (
        "import os, subprocess, sys, time\nprint(1, flush=True)\n"
        "if os.environ['RANK'] == '1': sys.exit()\n"
        "def work(secret):\n    subprocess.run([sys.executable, '-c', 'import time; time.sleep(100)'])\nwork(3)\n"
    )
    running = launched(*N2, script(text))
    read_pids(running, 2)
    assert until(lambda: '"ended": "exit status 0"' in accelerate("stacks", "--json").stdout)
    found = json.loads(accelerate("stacks", "--json", "--locals").stdout)
    jsonschema.validate(found, STACKS)
    assert found["ranks"][0]["children"]
    assert '"locals"' in json.dumps(found)
