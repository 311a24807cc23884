"""The record that a run leaves: what it holds, how it comes about, and what can't end the run."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from accel_launch.running.onlookers.registry import folder as folders
from accel_launch.running.onlookers.registry.record import plain
from accel_launch.running.onlookers.registry.record.recorder import Recorder
from accel_launch.running.onlookers.registry.record.writing import last_line
from accel_launch.running.output.channel import Channel
from tests.conftest import Run
from tests.launch.processes import Script, Start, until
from tests.schedule import sampled

N2 = ("-q", "--cpu", "--num_processes", "2")
TWO = "import os, sys, time\nprint('rank', os.environ['RANK'], flush=True)\ntime.sleep(1000)\n"


@pytest.fixture
def runs(environ: dict[str, str]) -> Iterator[Path]:
    """The folder of all runs; a detached one that a failed test has left is killed."""
    folder = Path(environ["XDG_STATE_HOME"]) / "accel" / "runs"
    yield folder
    for path in folder.glob("*"):
        if pid := folders.Folder(str(path)).pid:
            os.kill(pid, signal.SIGKILL)


def events(record: Path) -> list[dict[str, Any]]:
    """The events of a run."""
    return [json.loads(line) for line in (record / "events.jsonl").read_text().splitlines()]


def kinds(record: Path) -> list[str]:
    """The kinds of its events."""
    return [event["kind"] for event in events(record)]


def state(record: Path) -> dict[str, Any]:
    """The state as it was last written."""
    return json.loads((record / "state.json").read_text())


def up(launched: Start, script: Script, *flags: str) -> subprocess.Popen[str]:
    """Start a run of two ranks that has printed something."""
    running = launched(*N2, *flags, script(TWO))
    assert running.stdout is not None
    for _rank in range(2):
        running.stdout.readline()
    return running


def test_a_record_says_what_ran_how_it_was_started_and_how_it_ended(
    accelerate: Run, script: Script, runs: Path, tmp_path: Path
) -> None:
    path = script("import os, sys\nprint('loss 0.3')\nsys.exit(3 * (os.environ['RANK'] == '1'))\n")
    words = ("launch", *N2, "--name", "first", str(path), "--api_key", "sk-very-secret-0123456789")
    assert accelerate(*words).returncode == 3
    record = runs / "first"
    assert stat.S_IMODE(record.stat().st_mode) == 0o700
    run = json.loads((record / "run.json").read_text())
    assert run["command"][:2] == ["accelerate", "launch"]
    assert run["folder"] == str(tmp_path)
    assert [command["rank"] for command in run["plan"]["commands"]] == [0, 1]
    assert "sk-very-secret" not in "".join(file.read_text() for file in record.iterdir())
    assert kinds(record)[:1] + kinds(record)[-1:] == ["launched", "finished"]
    assert [event["rank"] for event in events(record) if event["kind"] == "started"] == [0, 1]
    assert {event["status"] for event in events(record) if event["kind"] == "ended"} >= {3}
    assert [event["number"] for event in events(record)] == list(range(1, len(events(record)) + 1))
    assert (state(record)["state"], state(record)["status"], state(record)["line"]) == ("ended", 3, "loss 0.3")
    assert json.loads((record / "report.json").read_text())["failure"]["rank"] == 1
    assert "rank 1 (local rank 1," in (record / "report.txt").read_text()


def test_a_record_is_written_as_the_run_goes(launched: Start, script: Script, runs: Path) -> None:
    running = up(launched, script, "--name", "going")
    record = runs / "going"
    assert until(lambda: (record / "state.json").exists() and state(record)["state"] == "running")
    assert until(lambda: state(record)["line"].startswith("rank "))
    assert {rank for rank, _pid, _ticks in state(record)["ranks"]} == {0, 1}
    running.terminate()
    assert running.wait(20) == -signal.SIGTERM
    assert [event["signal"] for event in events(record) if event["kind"] == "signal"] == [15]
    assert state(record)["status"] == 128 + signal.SIGTERM


def test_ranks_that_print_one_after_the_other_are_one_writing() -> None:
    plan = SimpleNamespace(commands=(1, 2), recording=SimpleNamespace(kept=True))
    found = Recorder(cast("Any", plan), None, cast("Any", SimpleNamespace()))
    found.prints()
    assert found.due == 0.0  # the first line is written at once
    found.changed, found.next = None, time.monotonic() - 5
    found.prints()
    first = found.due
    assert first is not None
    assert first > 0.9
    time.sleep(0.1)
    found.prints()
    assert found.due is not None
    assert found.due <= first - 0.1


@pytest.mark.exhaustive
def test_a_signal_is_in_the_record_while_the_ranks_still_end(launched: Start, script: Script, runs: Path) -> None:
    text = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(1, flush=True)\ntime.sleep(99)\n"
    )
    running = launched(*N2, "--name", "deaf", "--grace", "60", script(text))
    assert running.stdout is not None
    for _rank in range(2):
        running.stdout.readline()
    assert until((runs / "deaf" / "state.json").exists)
    running.terminate()
    assert until(lambda: state(runs / "deaf")["state"] == "ending")
    running.terminate()
    running.wait(20)


def test_a_name_is_one_run_s_at_a_time(launched: Start, accelerate: Run, script: Script, runs: Path) -> None:
    running = up(launched, script, "--name", "twin")
    done = accelerate("launch", *N2, "--name", "twin", str(script("print(1)")))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"a run 'twin' is running (pid {running.pid}); give another --name" in done.stderr
    running.kill()
    running.wait(10)
    for _again in range(2):
        assert accelerate("launch", *N2, "--name", "twin", str(script("print(1)"))).returncode == 0
    assert sorted(path.name for path in runs.iterdir()) == ["twin", "twin.1", "twin.2"]
    assert state(runs / "twin.1")["status"] is None


@pytest.mark.parametrize("name", sampled(["../up", "-x", ".x", "12", "a/b", "x" * 61, "a b", ""], every=4))
def test_a_name_that_is_none(accelerate: Run, script: Script, name: str) -> None:
    done = accelerate("launch", "--cpu", "--dry_run", f"--name={name}", str(script("pass")))
    assert done.returncode == 2
    assert "--name: name must have at most 60 letters" in done.stderr


def test_a_single_process_with_a_name_has_a_record(accelerate: Run, script: Script, runs: Path) -> None:
    assert accelerate("launch", "-q", "--cpu", "--name", "alone", str(script("print(1)"))).stdout == "1\n"
    first, *others, last = kinds(runs / "alone")
    assert (first, sorted(others), last) == ("launched", ["ended", "prints", "started"], "finished")


def test_no_record_leaves_nothing(accelerate: Run, script: Script, runs: Path) -> None:
    assert accelerate("launch", *N2, "--no_record", str(script("print(1)"))).returncode == 0
    assert list(runs.iterdir()) == []


def test_old_records_go_by_number_and_by_age(accelerate: Run, script: Script, runs: Path) -> None:
    def record(name: str, age: float, *files: str, lock: str = os.uname().nodename) -> None:
        (runs / name).mkdir(parents=True)
        for file in ("state.json", *files):
            (runs / name / file).write_text("{}")
        (runs / name / "lock").write_text(lock)
        os.utime(runs / name, (time.time() - age, time.time() - age))

    for number in range(4):
        record(f"n{number}", 100 + number)
    record("old", 40 * 86400)
    record("old-elsewhere", 40 * 86400, "report.json", lock="node-7")
    record("running-elsewhere", 40 * 86400, lock="node-7")
    stacks = runs.parent / "stacks"
    stacks.mkdir()
    for name, age in (("stacks_old.txt", 40), ("stacks_new.txt", 20), ("mine", 40)):
        (stacks / name).touch()
        os.utime(stacks / name, (time.time() - age * 86400, time.time() - age * 86400))
    (runs / "n0" / "mine").touch()
    path = str(script("print(1)"))
    assert accelerate("launch", *N2, "--name", "new", path).returncode == 0
    assert {path.name for path in runs.iterdir()} == {"n0", "n1", "n2", "n3", "new", "running-elsewhere"}
    assert {path.name for path in stacks.iterdir()} == {"stacks_new.txt", "mine"}
    assert accelerate("launch", *N2, "--name", "newer", "--record_count", "3", path).returncode == 0
    assert {path.name for path in runs.iterdir()} == {"newer", "new", "n0", "running-elsewhere"}


def test_a_disk_that_is_full_is_a_note(accelerate: Run, script: Script, runs: Path) -> None:
    """Each rank sees to it, before it prints, that a file can't be written; that is tried again until the end."""
    part = str(runs / "full" / "state.json.part")
    text = (
        f"import os, sys\ntry: os.makedirs({part!r}, exist_ok=True)\nexcept FileNotFoundError: pass\n"
        "print('trained')\nsys.exit(5 * (os.environ['RANK'] == '1' and 'fail' in sys.argv))\n"
    )
    done = accelerate("launch", *N2, "--name", "full", str(script(text)))
    assert (done.returncode, done.stdout) == (0, "trained\n" * 2)
    assert "accel: note: the record of the run is incomplete: " in done.stderr
    assert "Traceback" not in done.stderr
    assert accelerate("launch", *N2, "--name", "full", str(script(text)), "fail").returncode == 5
    assert accelerate("wait", "full").stdout == "full ended: exit status 5\n"
    assert json.loads(accelerate("ps", "-a", "--json").stdout)[0]["state"] == "ended"
    (runs / "again").mkdir()
    text = (
        f"import os, time\npart, record = {part!r}.replace('full', 'again'), {str(runs / 'again')!r}\n"
        "if os.environ['RANK'] == '0': os.makedirs(part)\n"
        "while not os.path.exists(part) and not os.path.exists(record + '/events.jsonl'): time.sleep(0.01)\n"
        "print('here', flush=True)\n"
        "while not os.path.exists(record + '/events.jsonl'): time.sleep(0.01)\n"
        "if os.environ['RANK'] == '0': os.rmdir(part)\n"
    )
    done = accelerate("launch", *N2, "--name", "again", str(script(text)))
    assert (done.returncode, "note" in done.stderr) == (0, False), done.stderr
    assert state(runs / "again")["status"] == 0
    assert [event["number"] for event in events(runs / "again")] == list(range(1, len(events(runs / "again")) + 1))


def test_a_folder_that_cant_be_locked_takes_no_name(
    environ: dict[str, str], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    def none(*_words: object, **_more: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert folders.claim(environ, "x7") is None
        with pytest.raises(OSError, match="full"):
            folders.Folder.make(environ)
    assert list(runs.iterdir()) == []
    (runs / "x7").mkdir()
    with monkeypatch.context() as patch:  # what has the name keeps it
        patch.setattr(os, "write", full)
        assert folders.claim(environ, "x7") is None
        patch.setattr(os, "mkdir", none)
        assert folders.claim(environ, "x7") is None
    assert [path.name for path in runs.iterdir()] == ["x7"]
    assert folders.claim(environ, "x7") is not None
    assert (runs / "x7" / "lock").exists()


def test_each_restart_is_in_the_record(accelerate: Run, script: Script, runs: Path) -> None:
    text = "import os, sys\nprint('try', flush=True)\nsys.exit(os.environ['TORCHELASTIC_RESTART_COUNT'] == '0')\n"
    words = ("--max_restarts", "1", "--restart_policy", "always", "--name", "again")
    done = accelerate("launch", *N2, *words, str(script(text)))
    assert done.returncode == 0, done.stderr
    assert [event["status"] for event in events(runs / "again") if event["kind"] == "attempt"] == [1, 0]
    assert kinds(runs / "again").count("prints") == 2
    assert [event["attempt"] for event in events(runs / "again") if event["kind"] == "attempt"] == [0, 1]
    assert [event["number"] for event in events(runs / "again")] == list(range(1, len(events(runs / "again")) + 1))
    assert (state(runs / "again")["line"], state(runs / "again")["attempt"]) == ("try", 1)
    spent = json.loads(accelerate("report", "again", "--json").stdout)["time_spent"]
    assert spent["restarting"] > 0


def test_a_last_line_that_is_long_is_cut_where_its_beginning_is_known() -> None:
    def line(end: bytes, *, written: int = 0, unfinished: bool = False) -> str:
        facts = {"end": end, "written": written or len(end), "written_at": 1.0, "line": unfinished and b"x"}
        return last_line([cast("Channel", SimpleNamespace(**facts))])

    assert last_line([]) == line(b"") == line(b"\n\n") == ""
    assert line(b"a\n50 %\rbc\n \n") == line(b"bc\nd", unfinished=True) == "bc"
    assert line(b"bc\nd") == line(b"d", unfinished=True) == "d"
    assert line(b"a\nS" + b"m" * 5000 + b"E\n") == "S" + "m" * 196 + "..."
    assert line(b"S" + b"m" * 5000 + b"E\n") == "S" + "m" * 196 + "..."
    assert line(b"m" * 4096 + b"E\n", written=9999) == "..." + "m" * 196 + "E"


def test_json_is_made_and_read_without_its_module() -> None:
    value = {"a": [1, 2.5, None, True, '\udcff\n\u2028"é'], "b": {}, "c": float("inf"), 3: ("x",)}
    assert json.loads(plain.text(value)) == {
        "a": [1, 2.5, None, True, '\udcff\n\u2028"é'],
        "b": {},
        "c": None,
        "3": ["x"],
    }
    assert folders.BOOT in plain.text(Path(folders.BOOT))
    for whole in (
        plain.text(value),
        ' {"a": [1.5e3, -0, "\\ud83d\\ude00\\n"], "b": NaN}\n',
        "7",
        '"x"',
        "[]",
        "null",
    ):
        assert repr(plain.value(whole)) == repr(json.loads(whole))
    for torn in ("", " ", '{"a": 1', "{}{}", "[1,]", '"x', "nul", "01", '{"a" 1}', '"\n"', "{'a': 1}", "9" * 5000):
        with pytest.raises(ValueError, match=r"."):
            plain.value(torn)
    with pytest.raises(RecursionError):
        plain.value("[" * 200_000)
