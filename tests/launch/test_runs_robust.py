"""Records in the hands of others, of other versions, of other times, on full disks, and of launchers that were killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from accel_cli.commands.runs import logs
from tests.conftest import BIN, Run
from tests.launch.processes import Script, Start, marked, until
from tests.launch.test_ps import listed, made
from tests.launch.test_runs import N2, TWO, runs, state

__all__ = ["runs"]

COMMANDS = (("ps", "-a"), ("ps", "-a", "--json"), ("report",), ("report", "--json"), ("logs",), ("wait",), ("stop",))


def tried(accelerate: Run, *words: str, env: dict[str, str] | None = None) -> dict[tuple[str, ...], Any]:
    """Run each command, which must neither hang nor show a traceback, and print one line about what it can't do."""
    found = {command: accelerate(*command, *(words if command[0] != "ps" else ()), env=env) for command in COMMANDS}
    for command, done in found.items():
        assert "Traceback" not in done.stderr, (command, done.stderr)
        assert len(done.stderr.splitlines()) <= 2, (command, done.stderr)
    return found


@pytest.fixture
def killed(accelerate: Run, mark: str) -> Iterator[None]:
    """Stop what a test leaves running."""
    yield
    for name in listed(accelerate):
        accelerate("stop", "--now", name)
    assert until(lambda: not marked(mark)), f"left running: {marked(mark)}"


def test_a_folder_that_others_can_write_to(accelerate: Run, script: Script, runs: Path) -> None:
    made(runs, "mine", {"state": "ended", "status": 0})
    made(runs, "shared", {"state": "ended", "status": 0}).chmod(0o777)
    (runs / "link").symlink_to(runs / "mine")
    twisted = made(runs, "twisted", {"state": "ended", "status": 0})
    for name in ("state.json", "report.json", "events.jsonl", "output"):
        (twisted / name).unlink(missing_ok=True)
        (twisted / name).symlink_to(runs / "mine" / "state.json")
    assert set(listed(accelerate, "-a")) == {"mine", "twisted"}
    assert accelerate("logs", "mine").returncode == 2
    runs.chmod(0o770)
    for done in tried(accelerate).values():
        assert done.returncode == 1
        assert f"{runs}: others can write to it; `chmod go-w` it\n" in done.stderr
    path = str(script("print(1)"))
    for flags in ((), ("--name", "one")):
        done = accelerate("launch", *N2, *flags, path)
        assert (done.returncode, done.stdout) == (0, "1\n1\n")
        assert f"note: no folder for this run: {runs}: others can write to it; `chmod go-w` it" in done.stderr
    done = accelerate("launch", *N2, "-d", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "others can write to it" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user(accelerate: Run, runs: Path) -> None:
    made(runs, "theirs", {"state": "running"})
    os.chown(runs / "theirs", 65534, 65534)
    assert listed(accelerate, "-a") == {}
    os.chown(runs, 65534, 65534)
    done = accelerate("ps")
    assert (done.returncode, done.stderr) == (1, f"accelerate ps: {runs}: it belongs to another user (uid 65534)\n")


def test_records_of_other_versions_and_torn_ones(accelerate: Run, runs: Path) -> None:
    """Whatever is in them, as after a loss of power."""
    events = (
        '{"number": 1, "at": 1000.0, "kind": "launched"}\n{"number": 2, "at": 1001.0, "kind": "star',
        "\0\0\0\n[]\n7\nnull\n" + "[" * 100_000 + "\n",
        '{"at": 1e400}\n{"at": NaN, "kind": []}\n{"number": {}, "at": 1e99, "kind": "stalled", "stall": 3}\n',
        '{"number": 2, "at": 1002.0, "kind": "stalled", "stall": {"since": "x"}}\n{"at": ' + "1" * 5000 + "}\n",
        '{"number": 3, "at": 1003, "kind": "finished", "signal": 9999}\n',
    )
    odd: dict[str, Any] = {
        "version": 99,
        "state": "hibernating",
        "began": 1e400,
        "at": -1e400,
        "clock": "noon",
        "processes": [],
        "line": {"text": 1},
        "ranks": [[0, 1], "x"],
        "attempt": None,
        "count": "many",
    }
    for number, status in enumerate((0, None, "odd")):
        path = made(runs, f"record{number}", {**odd, "status": status})
        (path / "events.jsonl").write_text("".join(events))
        (path / "run.json").write_text('{"version": 99, "command": 3')
        (path / "report.json").write_text('{"status": {}}' if number else "[" * 100_000)
        (path / "output").write_bytes(b"\x1e1.000 0 1 4 0\ntext\x1e1.000 0 1 999 20\ntorn")
        (path / "output.older").write_bytes(os.urandom(5000))
        found = tried(accelerate, path.name)
        assert found["logs",].stdout == "text"
        assert found["report",].returncode == 0


@pytest.mark.usefixtures("killed")
def test_a_clock_that_is_set(accelerate: Run, script: Script, runs: Path, tmp_path: Path) -> None:
    """Launchers that begin before it is set back or forward by a day: their clocks show another time than ours."""
    (tmp_path / "clock").mkdir()
    text = (
        "import os, time\nreal, ahead = time.time, float(os.environ['AHEAD'])\ntime.time = lambda: real() + ahead\n"
    )
    (tmp_path / "clock" / "sitecustomize.py").write_text(text)
    path = str(script("import time\nprint('here', flush=True)\ntime.sleep(1000)\n"))
    for name, ahead in (("ahead", 86400), ("behind", -86400), ("right", 0)):
        env = {"PYTHONPATH": str(tmp_path / "clock"), "AHEAD": str(ahead)}
        assert accelerate("launch", *N2, "-d", "--name", name, path, env=env).returncode == 0
        assert until(lambda name=name: accelerate("logs", name, "--since", "5m").stdout == "here\n" * 2)
        assert accelerate("logs", name, "--since", "0").stdout == ""
    assert abs(state(runs / "ahead")["began"] - state(runs / "right")["began"] - 86400) < 600
    newest_first = list(listed(accelerate))
    assert newest_first == ["right", "behind", "ahead"]
    rows = accelerate("ps").stdout.splitlines()[1:]
    assert all(row.split()[4] in ("s", "min") for row in rows), rows
    for name in newest_first:
        assert accelerate("stop", name).returncode == 143
        spent = json.loads(accelerate("report", name, "--json").stdout)["time_spent"]
        began, ended = (state(runs / name)[fact] for fact in ("began", "at"))
        assert min(spent.values()) >= 0
        assert 0.99 < sum(spent.values()) / (ended - began) <= 1.0001
    assert list(listed(accelerate, "-a")) == newest_first


@pytest.mark.usefixtures("killed")
def test_a_disk_that_fills_up_while_a_run_goes_on(environ: dict[str, str], accelerate: Run, script: Script) -> None:
    """No file can grow beyond so many bytes: of the output, or of the whole record."""
    path = script("for number in range(2000): print('step', number)\n")
    for name, limit in (("full", 20_000), ("brim", 300)):
        words = [BIN / "accelerate", "launch", *N2, "-d", "--name", name, path]
        limited = lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # noqa: E731
        done = subprocess.run(words, env=environ, preexec_fn=limited, check=False, timeout=60, capture_output=True)
        assert (done.returncode, done.stdout.decode()) == (0, f"{name}\n")
        assert accelerate("wait", name).stdout == f"{name} ended: exit status 0\n"
        found = tried(accelerate, name)
        assert len(found["logs",].stdout.splitlines()) < 4000
        lost = " aren't shown: they never reached the record: File too large\n"
        assert found["logs",].stderr.endswith(lost)
        assert accelerate("logs", name, "--rank", "1", "--tail", "1").stderr.endswith(lost)
        if name == "full":
            assert "the output of the run is incomplete: File too large" in found["report",].stdout
            continue
        head, *notes = found["report",].stdout.splitlines()
        assert (head, notes[0].split(maxsplit=2)[2], notes[1]) == (
            "brim: ended (0)",
            "bytes of the output of the run aren't in its record: File too large",
            "  note: the record of the run is incomplete: File too large",
        )
        assert "last line" not in found["report",].stdout
        gaps = json.loads(found["report", "--json"].stdout)["gaps"]
        assert [gaps[0].partition(" aren't in its record: ")[2], gaps[1]] == [
            "File too large", notes[1].partition(": ")[2]
        ]  # fmt: skip


def test_who_follows_a_run_is_told_once_why_nothing_comes(capsys: pytest.CaptureFixture[str]) -> None:
    run = SimpleNamespace(name="quiet", state="running", facts=lambda: {"launcher": 7})
    output = SimpleNamespace(lost=(5, "No space left on device"))
    remarks = logs.Remarks(cast("Any", run), cast("Any", output))
    remarks.look()
    assert capsys.readouterr().err == ""
    for size in (6, 7):
        output.lost, run.state, remarks.again = (size, "No space left on device"), "stopped", 0.0
        remarks.look()
    assert capsys.readouterr().err.splitlines() == [
        "accel: what quiet prints doesn't reach its record now: No space left on device",
        "accel: the launcher of quiet is stopped; `kill -CONT 7` lets it go on",
    ]


def test_a_home_that_cant_be_written(accelerate: Run, script: Script) -> None:
    nowhere = {"XDG_STATE_HOME": "/proc/nowhere"}
    done = accelerate("launch", *N2, "--name", "here", str(script("print(1)")), env=nowhere)
    assert (done.returncode, done.stdout) == (0, "1\n1\n")
    assert "note: no folder for this run: " in done.stderr
    found = tried(accelerate, env=nowhere)
    assert found["ps", "-a"].returncode == 0
    assert "there is no record of a run of this user" in found["logs",].stderr


@pytest.mark.usefixtures("killed")
@pytest.mark.parametrize("order", ["launcher, guardian", "guardian, launcher"])
def test_launcher_and_guardian_are_killed(accelerate: Run, script: Script, runs: Path, order: str) -> None:
    """Who is attached or follows comes to an end, and says how."""
    assert accelerate("launch", *N2, "-d", "--name", "poor", str(script(TWO))).returncode == 0
    assert until(
        lambda: len(state(runs / "poor")["ranks"]) == 2 if (runs / "poor" / "state.json").exists() else False
    )
    launcher = psutil.Process(listed(accelerate)["poor"]["launcher"])
    guardian = next(child for child in launcher.children() if child.children())
    env = {**os.environ, "XDG_STATE_HOME": str(runs.parent.parent)}
    others = [
        subprocess.Popen([BIN / "accelerate", *words, "poor"], env=env, stdout=-1, stderr=-1, text=True)
        for words in (("attach", "--since", "1h"), ("logs", "-f"), ("wait",))
    ]
    assert others[0].stdout is not None
    others[0].stdout.readline()
    launcher.suspend()  # else it may still write how the guardian ended
    for process in (launcher, guardian) if order.startswith("launcher") else (guardian, launcher):
        process.send_signal(signal.SIGKILL)
    said = [other.communicate(timeout=60) for other in others]
    assert [other.returncode for other in others][1:] == [0, 1]
    assert others[0].returncode != 0
    assert "poor ended" in said[0][1] + said[2][0]
    found = tried(accelerate, "poor")
    assert "rank 0" in found["logs",].stdout
    assert found["stop",].returncode == 1


@pytest.mark.stress
def test_many_launches_that_take_the_same_name_at_once(launched: Start, script: Script, runs: Path) -> None:
    path = script(TWO)
    every = [launched(*N2, "--name", "same", path) for _each in range(32)]
    assert until(lambda: sum(popen.poll() is not None for popen in every) == 31, 60)
    assert sorted(popen.poll() or 0 for popen in every) == [0, *[2] * 31]
    assert [path.name for path in runs.iterdir()] == ["same"]


@pytest.mark.usefixtures("killed")
def test_a_launcher_that_is_stopped_holds_up_nobody(accelerate: Run, script: Script, environ: dict[str, str]) -> None:
    assert accelerate("launch", *N2, "-d", "--name", "still", str(script(TWO))).returncode == 0
    launcher = psutil.Process(listed(accelerate)["still"]["launcher"])
    launcher.send_signal(signal.SIGSTOP)
    assert until(lambda: listed(accelerate)["still"]["state"] == "stopped")
    words = f"the launcher of still is stopped; `kill -CONT {launcher.pid}` lets it go on\n"
    assert accelerate("stacks", "still").stderr == f"accelerate stacks: {words}"
    command = [BIN / "accelerate", "attach", "still"]
    with subprocess.Popen(command, env=environ, stdout=-1, stderr=-1, text=True) as attached:
        assert attached.stderr is not None
        assert attached.stderr.readline().startswith("accel: attached to still (stopped")
        assert attached.stderr.readline() == f"accel: {words}"
        attached.send_signal(signal.SIGINT)
        attached.communicate(timeout=60)
    assert accelerate("ps").stdout.splitlines()[1].split()[:2] == ["still", "stopped"]
    assert accelerate("report", "still").stdout.startswith("still: stopped\n")
    launcher.send_signal(signal.SIGCONT)
