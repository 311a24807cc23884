"""Runs that are listed, stopped, waited for and reported on from outside."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jsonschema
import pytest

from accel_launch import runs as api
from accel_launch.ranks.system import calls
from accel_launch.running.onlookers.registry import acting, folder, goodput, reading
from accel_launch.running.onlookers.registry.record import writing
from tests.conftest import BIN, ROOT, Run
from tests.launch.processes import Script, Start, gone, until
from tests.launch.test_runs import N2, runs, state, up

__all__ = ["runs"]


def listed(accelerate: Run, *flags: str) -> dict[str, dict[str, Any]]:
    """What `ps --json` prints, by name."""
    return {run["name"]: run for run in json.loads(accelerate("ps", "--json", *flags).stdout)}


def made(runs: Path, name: str, state: dict[str, Any], *, lock: str | None = None, began: float = 0.0) -> Path:
    """Make a record as a launcher would have left it."""
    path = runs / name
    path.mkdir(parents=True)
    whole = {"launcher": 7, "host": os.uname().nodename, "began": began or time.time(), "at": time.time(), **state}
    (path / "state.json").write_text(json.dumps(whole))
    here = " ".join(map(bytes.decode, folder.machine_names()))
    (path / "lock").write_text(here if lock is None else lock)
    return path


def test_runs_are_listed_with_what_they_do(launched: Start, accelerate: Run, script: Script) -> None:
    running = up(launched, script, "--name", "one")
    assert until(lambda: listed(accelerate)["one"]["line"].startswith("rank "))
    one = listed(accelerate)["one"]
    assert (one["state"], one["launcher"], one["ranks"], one["running_ranks"]) == ("running", running.pid, 2, 2)
    assert one["cpu"] is not None
    assert one["command"][:2] == ["accelerate", "launch"]
    head, line = accelerate("ps").stdout.splitlines()
    assert head.split() == ["NAME", "STATE", "RANKS", "AGE", "CPU", "LAST", "LINE"]
    assert line.split()[:3] == ["one", "running", "2"]
    os.kill(running.pid, signal.SIGSTOP)
    assert until(lambda: listed(accelerate)["one"]["state"] == "stopped")
    done = accelerate("stop", "on")  # which wakes it
    assert (done.returncode, done.stdout) == (143, "one ended: terminated by SIGTERM\n")
    assert running.wait(10) == -signal.SIGTERM
    assert listed(accelerate) == {}
    done = accelerate("ps")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "accel: no run is running; accelerate ps -a lists those that have ended\n"
    assert listed(accelerate, "-a")["one"]["status"] == 143
    head, line = accelerate("ps", "-a").stdout.splitlines()
    assert line.startswith("one   ended (143)")
    assert re.match(r"\d+ s ago  ", line[head.index("ENDED") :])


def test_an_orphaned_record_is_told_for_what_it_is(
    launched: Start, accelerate: Run, script: Script, runs: Path
) -> None:
    """Of a launcher that was killed, of a machine that was started again, of another machine, of another version."""
    running = up(launched, script, "--name", "killed")
    assert until((runs / "killed" / "state.json").exists)
    running.kill()
    running.wait(10)
    made(runs, "rebooted", {"state": "running"}, lock=f"{os.uname().nodename} another-boot")
    made(runs, "elsewhere", {"state": "running", "host": "node-7"}, lock="node-7 boot")
    made(runs, "torn", {}).joinpath("state.json").write_text('{"state": "run')
    for name in ("state.json", "lock"):  # as after a loss of power
        (made(runs, "empty", {}) if name == "state.json" else runs / "empty").joinpath(name).write_text("")
    made(runs, "odd", {"ranks": "many", "status": "good", "began": "now", "line": 3, "count": None, "sample": {}})
    found = {name: run["state"] for name, run in listed(accelerate, "-a").items()}
    assert found == {"killed": "lost", "rebooted": "lost", "elsewhere": "elsewhere", "odd": "lost"} | {
        "torn": "lost", "empty": "lost"
    }  # fmt: skip
    table = accelerate("ps", "-a").stdout
    assert "lost: its launcher was killed" in table
    assert "lost: the machine was started again" in table
    assert "on node-7" in table
    assert set(listed(accelerate)) == {"killed", "rebooted", "odd", "torn", "empty"}
    done = accelerate("wait", "killed")
    assert (done.returncode, done.stdout) == (1, "killed ended without a status: its launcher was killed\n")
    assert "killed: lost: its launcher was killed\n" in accelerate("report", "killed").stdout
    assert {found["reason"] for found in listed(accelerate, "-a").values()} == {
        None, "its launcher was killed", "the machine was started again"
    }  # fmt: skip
    told = json.loads(accelerate("report", "killed", "--json").stdout)
    assert (told["state"], told["status"], told["reason"]) == ("lost", None, "its launcher was killed")
    assert set(told["time_spent"]) == set(goodput.PHASES)
    done = accelerate("stop", "killed", "elsewhere")
    assert (done.returncode, done.stdout.splitlines()) == (
        1,
        [
            "killed ended without a status: its launcher was killed",
            "elsewhere is on node-7: its end isn't known here",
        ],
    )


def test_a_pid_that_is_another_process_s_now_is_no_rank_and_gets_no_signal(accelerate: Run, runs: Path) -> None:
    with subprocess.Popen(["sleep", "100"]) as stranger:
        try:
            facts = calls.look(stranger.pid)
            assert facts is not None
            ranks = [[0, stranger.pid, facts[2] - 1], [1, os.getpid(), 1]]
            record = made(runs, "reused", {"state": "running", "launcher": stranger.pid, "ranks": ranks})
            (run,) = listed(accelerate, "-a").values()
            assert (run["state"], run["running_ranks"]) == ("lost", 0)
            assert accelerate("stop", "reused").returncode == 1
            found = reading.Run(str(record))
            found.pid, found.held = stranger.pid, True
            assert found.ranks == []
            found.look = lambda: None  # as if it had ended between two looks
            assert not acting.send(found, signal.SIGTERM)
            time.sleep(0.1)
            assert stranger.poll() is None
        finally:
            stranger.kill()


@pytest.mark.exhaustive
def test_a_launcher_that_nobody_collects_is_not_running(
    accelerate: Run, script: Script, environ: dict[str, str]
) -> None:
    """As in a container whose first process collects nobody."""
    text = (
        "import subprocess, sys, time\n"
        "popen = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)\n"
        "popen.stdout.readline()\nprint(popen.pid, flush=True)\ntime.sleep(1000)\n"
    )
    path = script("import time\nprint(1, flush=True)\ntime.sleep(1000)\n")
    words = [str(BIN / "accelerate"), "launch", *N2, "--name", "zombie", str(path)]
    with subprocess.Popen(
        [sys.executable, "-c", text, *words], stdout=subprocess.PIPE, text=True, env=environ
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert until(lambda: listed(accelerate)["zombie"]["state"] == "running")
        os.kill(pid, signal.SIGKILL)
        assert gone([pid])
        assert calls.look(pid) is not None
        assert listed(accelerate)["zombie"]["state"] == "lost"
        assert accelerate("stop", "zombie").returncode == 1
        parent.kill()


@pytest.mark.exhaustive
def test_stop_takes_several_a_signal_and_no_grace(launched: Start, accelerate: Run, script: Script) -> None:
    two = [up(launched, script, "--name", name) for name in ("alpha", "beta")]
    done = accelerate("stop", "--signal", "SIGINT", "alpha", "beta", "alph")  # which is signalled once
    assert done.returncode == 130
    assert done.stdout == "alpha ended: terminated by SIGINT\nbeta ended: terminated by SIGINT\n"
    assert [running.wait(10) for running in two] == [-signal.SIGINT] * 2
    text = (
        "import signal, time\nfor number in (10, 15): signal.signal(number, signal.SIG_IGN)\n"
        "print(1, flush=True)\ntime.sleep(99)\n"
    )
    deaf = launched(*N2, "--name", "deaf", "--grace", "1000", script(text))
    assert deaf.stdout is not None
    for _rank in range(2):
        deaf.stdout.readline()
    assert accelerate("stop", "--now", "--signal", "USR1").returncode == 143
    assert "isn't a signal" in accelerate("stop", "--signal", "NONE").stderr
    assert "no run of this user is running" in accelerate("stop").stderr


@pytest.mark.exhaustive
def test_wait_and_report(
    launched: Start, accelerate: Run, script: Script, environ: dict[str, str], tmp_path: Path
) -> None:
    end = tmp_path / "end"
    text = (
        f"import os, sys, time\nprint('go', flush=True)\nwhile not os.path.exists({str(end)!r}): time.sleep(0.01)\n"
    )
    running = launched(*N2, "--name", "waited", script(f"{text}sys.exit(3)\n"))
    assert running.stdout is not None
    running.stdout.readline()
    with subprocess.Popen([BIN / "accelerate", "wait"], env=environ, stdout=subprocess.PIPE, text=True) as waiting:
        told = json.loads(accelerate("report", "waited", "--json").stdout)
        assert (told["name"], told["status"], sum(told["time_spent"].values()) > 0) == ("waited", None, True)
        end.touch()
        assert waiting.communicate(timeout=60)[0] == "waited ended: exit status 3\n"
    assert waiting.returncode == 3
    running.wait(10)
    told = accelerate("report").stdout
    assert told.startswith("waited: ended (3)\naccel: rank ")
    assert "failed first\n  cause: exit status 3\n" in told
    found = json.loads(accelerate("report", "wait", "--json").stdout)
    assert found["status"] == 3
    assert set(found["time_spent"]) == set(goodput.PHASES)


@pytest.mark.exhaustive
def test_a_run_that_waits_for_what_its_ranks_have_left_says_so(
    launched: Start, accelerate: Run, script: Script, runs: Path
) -> None:
    text = "import os, subprocess\nif os.environ['RANK'] == '1': subprocess.Popen(['sleep', '300'])\n"
    running = launched(*N2, "--name", "left", "--grace", "600", script(text))
    assert until((runs / "left" / "state.json").exists, 60)
    assert until(lambda: state(runs / "left")["state"] == "ending", 60)
    assert listed(accelerate)["left"]["running_ranks"] == 0
    for command in ("report", "stacks", "top"):
        assert "waits for what its ranks have left: sleep 300 (pid " in accelerate(command, "left").stdout
    assert accelerate("stop", "left").returncode == 143
    assert running.wait(60) == -signal.SIGTERM
    assert "waits for" not in accelerate("report", "left").stdout


@pytest.mark.exhaustive
def test_a_run_is_named_by_an_unambiguous_beginning(accelerate: Run, runs: Path) -> None:
    for name in ("alpha", "alphabet", "beta"):
        made(runs, name, {"state": "ended", "status": 0}, began=1e9 + len(name))
    assert accelerate("wait", "alpha").stdout == "alpha ended: exit status 0\n"
    assert accelerate("wait", "b").stdout == "beta ended: exit status 0\n"
    both = accelerate("wait", "b", "alpha", "beta")
    assert (both.returncode, both.stdout) == (0, "beta ended: exit status 0\nalpha ended: exit status 0\n")
    assert accelerate("wait").stdout == "alphabet ended: exit status 0\n"
    assert "'al' is the beginning of several runs: alphabet, alpha\n" in accelerate("wait", "al").stderr
    assert "no run 'gamma' is known; known: alphabet, alpha, beta\n" in accelerate("wait", "gamma").stderr


def test_from_python(
    launched: Start, script: Script, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", environ["XDG_STATE_HOME"])
    up(launched, script, "--name", "mine")
    (run,) = api.list()
    assert until(lambda: run.facts()["line"] != "")
    assert (run.name, run.state, run.status, run.report()) == ("mine", "running", None, None)
    assert run.wait(0.1) is None
    assert [one["line"] for one in run.now()["figures"]] == ["rank 0", "rank 1"]
    assert run.recent(0)["output"][0]["text"] == "rank 0\n"
    assert run.stop() == 143
    assert [event["kind"] for event in api.open("mine").follow()][-1] == "finished"
    assert next(event["number"] for event in run.events(after=2)) == 3
    assert (run.report() or {})["signal"] == "SIGTERM"
    assert api.list() == []
    assert [each.name for each in api.list(ended=True)] == ["mine"]


def test_the_socket_answers_as_its_schema_says(launched: Start, script: Script, runs: Path) -> None:
    schema = json.loads((ROOT / "docs/runs.schema.json").read_text())
    running = up(launched, script, "--name", "asked")

    def ask(**question: object) -> dict[str, Any]:
        fd = os.open(runs / "asked", os.O_PATH)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"/proc/self/fd/{fd}/socket")
            client.sendall(json.dumps(question).encode() + b"\n")
            answer = json.loads(client.makefile().readline())
        os.close(fd)
        jsonschema.validate(answer, schema)
        return answer

    assert until(lambda: ask(ask="state")["line"].startswith("rank"))
    assert ask(ask="state")["launcher"] == running.pid
    events = ask(ask="events")["events"]
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert ask(ask="events", after=len(events) - 1)["events"] == events[-1:]
    assert "groups" in ask(ask="stacks")
    figures = ask(ask="state", figures=True)["figures"]
    assert [(one["rank"], one["state"], one["printed"], one["line"]) for one in figures] == [
        (rank, "running", 7, f"rank {rank}") for rank in range(2)
    ]
    whole, nothing = ask(ask="output", rank=1)["output"]
    assert sum(length for length, _at in whole.pop("times")) == len("rank 1\n")
    assert whole == {"until": 7, "lost": 0, "text": "rank 1\n"}
    assert nothing == {"until": 0, "lost": 0, "text": "", "times": []}
    assert [one["text"] for one in ask(ask="output", rank=1, after=[5, 0])["output"]] == ["1\n", ""]
    assert "no rank 7 has been started" in ask(ask="output", rank=7)["error"]
    for after in ("x", [True], [1.5]):
        assert "must be a list of whole numbers" in ask(ask="output", rank=1, after=after)["error"]
    assert "native must be true or false" in ask(ask="stacks", native="yes")["error"]
    assert "a line of at most 65536 bytes" in ask(ask="state", more="x" * 3_000_000)["error"]
    assert "ask must be stacks, state, output, events, stop or resize, not 'x'" in ask(ask="x")["error"]
    assert ask(ask="resize", lines=24, columns=80)["terminals"] == 0
    assert "from 1 to" in ask(ask="resize", lines=24)["error"]
    for wrong in ("TERM", True):
        assert "whole number" in ask(ask="stop", signal=wrong)["error"]
    assert ask(ask="stop", signal=2)["signal"] == 2
    assert running.wait(20) == -signal.SIGINT


def test_all_time_is_spent_on_something() -> None:
    def event(at: float, kind: str, **facts: Any) -> dict[str, Any]:
        return {"number": 1, "at": at, "kind": kind, **facts}

    events = [
        event(1, "launched"),
        event(2, "started", rank=0),
        event(3, "started", rank=1),
        event(5, "prints"),
        event(20, "stalled", stall={"at": 3620, "since": 3615}),  # the clock was set
        event(22, "moves"),
        event(30, "ended", rank=0, status=1),
        event(31, "attempt", status=1),
        event(33, "started", rank=0),
        event(34, "started", rank=1),
        event(35, "prints"),
        event(40, "signal", signal=15),
        event(41, "ended", rank=0, status=143),
        event(42, "finished"),
    ]
    spent = goodput.spent(events, 0, 42, 2)
    assert spent == {"starting": 3, "importing": 3, "running": 23, "stalled": 7, "restarting": 3, "ending": 3}
    assert sum(spent.values()) == 42
    assert goodput.spent([], 0, 2, 2)["starting"] == 2
    ended = [*events[:4], *(event(at, "ended", rank=at - 8, status=0) for at in (8, 9))]
    assert goodput.spent(ended, 0, 99, 2)["ending"] == 90
    silent = [event(1, "started", rank=0), event(9, "ended", rank=0, status=0), event(9, "finished", status=0)]
    assert goodput.spent(silent[:1], 0, 5, 1)["importing"] == 4
    assert goodput.spent(silent, 0, 9, 1) == {**dict.fromkeys(goodput.PHASES, 0), "starting": 1, "running": 8}
    silent.insert(1, event(3, "connects"))
    assert goodput.spent(silent, 0, 9, 1)["importing"] == 2


@pytest.mark.parametrize("seen", [2, 7, 13])
def test_a_standstill_counts_from_its_last_progress_on_whenever_the_imports_are_seen_to_have_ended(seen: int) -> None:
    events: list[dict[str, Any]] = [
        {"at": 1, "kind": "started", "rank": 0},
        {"at": seen, "kind": "connects"},
        {"at": 12, "kind": "stalled", "stall": {"at": 12, "since": 6}},
        {"at": 40, "kind": "signal"},
    ]
    events.sort(key=lambda each: each["at"])
    run = SimpleNamespace(facts={"processes": 1}, began_at=0.0, age=41.0, events=lambda: events)
    spent = goodput.of(cast("reading.Run", run))
    importing = min(seen, 6) - 1
    phases = {"starting": 1, "importing": importing, "running": 5 - importing, "stalled": 34, "restarting": 0}
    assert spent == {**phases, "ending": 1}
    assert goodput.UNSEEN not in goodput.told(cast("reading.Run", run))


def test_ranks_that_print_nothing_are_looked_at_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looked = 0.0, list[float]()
    monkeypatch.setattr(writing, "time", SimpleNamespace(monotonic=lambda: now))
    ranks = writing.Ranks()
    ranks.subjects = lambda: looked.append(now) or ()
    while now < 3600:
        assert not ranks.connects()
        now += 0.5
    assert [at for at in looked if at <= 6] == [float(at) for at in range(1, 7)]
    assert len(looked) < 45


@pytest.mark.exhaustive
def test_imports_of_ranks_that_print_nothing(accelerate: Run, script: Script, runs: Path) -> None:
    """They are over once a rank opens a connection; a report says so if nobody has seen it."""
    end = runs.parent / "end"
    text = f"import os, socket, time\n{{}}\nwhile not os.path.exists({str(end)!r}): time.sleep(0.05)\n"
    for name, line in (("silent", ""), ("meets", "found = socket.socket()")):
        assert accelerate("launch", *N2, "-d", "--name", name, str(script(text.format(line)))).returncode == 0
    assert until(lambda: "connects" in {event["kind"] for event in reading.Run(str(runs / "meets")).events()})
    time.sleep(1.5)  # a look later
    end.touch()
    for name in ("silent", "meets"):
        assert accelerate("wait", name).returncode == 0
    assert "running includes imports: the ranks printed nothing" in accelerate("report", "silent").stdout
    spent = json.loads(accelerate("report", "silent", "--json").stdout)["time_spent"]
    assert spent["importing"] == 0 < spent["running"]
    assert "running includes imports" not in accelerate("report", "meets").stdout
    assert json.loads(accelerate("report", "meets", "--json").stdout)["time_spent"]["importing"] > 0
