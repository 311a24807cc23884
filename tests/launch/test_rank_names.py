"""What ranks name as they like, such as files, functions and threads, begins no line of ours and moves no cursor."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from accel_launch.inspecting import report
from accel_launch.inspecting.groups import Group
from accel_launch.planning.types import Display, Plan, Restarting
from accel_launch.running.attempts.series import Series
from accel_launch.running.onlookers.stall.telling import Stall
from accel_launch.running.output.router import OutputRouter
from accel_launch.running.report import rendering
from accel_launch.running.report.records import Ending, Failure, Result
from accel_launch.running.restarting.judge import Verdict
from accel_launch.running.supervising.event_reader import EventReader
from tests.conftest import Run
from tests.launch.processes import Script, Start, until

FORGED = "\n  1 of 9 ranks (7): x\x1b[31m"
SHOWN = "\\n  1 of 9 ranks (7): x\\x1b[31m"
HANGS = "import time\ndef hold():\n    time.sleep(1000)\nprint(1, flush=True)\nhold()\n"
N2 = ("-q", "--cpu", "--num_processes", "2")


def clean(text: str) -> bool:
    """Return whether a text has the name in its lines, and nothing of it has got out of them."""
    return SHOWN in text and FORGED not in text and "\x1b" not in text


# Real runs.


def test_at_a_standstill_and_at_the_end(accelerate: Run, script: Script, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    flags = ("--stall_after", "1.5", "--stall_action", "end", "--report", path)
    done = accelerate("launch", *N2, *flags, script(HANGS, f"a{FORGED}.py"))
    assert done.returncode == 124
    head, shown, end = done.stderr.partition("accel: what the ranks did when standing still ended the run:\n")
    assert shown
    assert "accel: standing still for " in head
    assert f"  2 of 2 ranks (0-1): a{SHOWN}.py:3 hold > sleep\n" in head
    assert f"      hold ({tmp_path}/a{SHOWN}.py:3)\n" in end
    assert "\n  cause: standing still for " in end
    assert clean(head)
    assert clean(end)
    found = json.loads(path.read_text())
    assert FORGED in found["failure"]["cause"]  # data is as it is
    assert found["stalls"][0]["groups"][0]["doing"].startswith(f"a{FORGED}.py")


def test_on_demand(launched: Start, script: Script, accelerate: Run) -> None:
    running = launched(*N2, script(HANGS, f"a{FORGED}.py"))
    assert running.stdout is not None
    running.stdout.readline()
    assert until(lambda: clean(accelerate("stacks").stdout))
    assert clean(accelerate("stacks", "--all_threads", "--locals").stdout)
    assert FORGED in json.loads(accelerate("stacks", "--json").stdout)["groups"][0]["doing"]


# Texts.


def thread() -> dict[str, Any]:
    """Return a thread that has named everything so."""
    frame = {"function": f"f{FORGED}", "file": f"/a{FORGED}", "line": 3, "locals": {f"v{FORGED}": f"'{FORGED}'"}}
    return {"id": 7, "name": f"t{FORGED}", "holds_gil": False, "frames": [frame]}


def test_whole_stacks() -> None:
    process = {
        "pid": 7,
        "name": f"p{FORGED}",
        "state": "S",
        "cpu_seconds": 1.0,
        "system_call": None,
        "unread": f"{FORGED}",
        "threads": [thread()],
    }
    group = Group((0,), f"a{FORGED}", host=f"h{FORGED}").as_json()
    found = {"ranks": [{"rank": 0, "process": process, "children": [process]}], "groups": [group]}
    told = report.text(found, threads=True)
    assert clean(told)
    assert told.count(SHOWN) == 2 + 1 + 2 * (1 + 1 + 2 + 2)
    assert clean("\n".join(report.brief(found, 1, 19)))


def stall() -> Stall:
    return Stall(1000.0, 700.0, (0, 1), (Group((0,), f"a{FORGED}"), Group((1,), "b")), {0: "waiting", 1: "waiting"})


def test_a_mismatch() -> None:
    assert clean(stall().text("more"))
    assert len(stall().text("more").splitlines()) == 4


def failed(**fields: Any) -> Result:
    ending = Ending(0, 0, 7, 1, 0, 1000.0)
    return Result(status=1, failure=Failure(ending=ending, device=None, **fields), endings=(ending,))


@pytest.mark.parametrize("field", ["cause", "where", "log", "exception", "last_line"])
def test_a_report(field: str) -> None:
    text = rendering.text(failed(**{"cause": "exit status 1", field: f"a{FORGED}"}), "here")
    assert "\x1b" not in text
    assert "\n  1 of 9" not in text
    assert "x\\x1b[31m" in text


def test_why_a_run_is_not_started_again() -> None:
    assert clean(rendering.text(failed(cause="x").replace(not_again=f"the same, at a{FORGED}"), "here"))


def test_notes() -> None:
    said: list[str] = []
    EventReader(-1, int, None, said.append).note(f"preload: a{FORGED}")
    assert clean(said[0])


def test_attempts() -> None:
    said: list[str] = []
    plan = Plan("local", (), restarting=Restarting(most=3))
    attempt: Any = SimpleNamespace(number=0)
    Series(plan, None, said.append).announce(attempt, Verdict(again=True, why=f"rank 0: E at a{FORGED}"), 0)
    assert clean(said[0])


def test_whatever_line_it_is_the_cursor_stays(capfd: pytest.CaptureFixture[str]) -> None:
    output = OutputRouter(Display())
    output.print(f"accel: a{FORGED}\n")
    output.streams[1].write()
    assert capfd.readouterr().err == "accel: a\n  1 of 9 ranks (7): x\\x1b[31m\n"
