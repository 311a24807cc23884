"""Runs that go on without their terminal, and what they have printed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from accel_launch import runs as api
from accel_launch.running.onlookers.registry import folder, reading
from accel_launch.running.onlookers.registry.record import reader, store
from accel_launch.running.output import channel, terminals
from accel_launch.running.supervising import detaching
from tests.conftest import BIN, Run
from tests.launch.processes import TURNS, Script, gone, marked, until
from tests.launch.test_ps import listed
from tests.launch.test_runs import N2, kinds, runs
from tests.launch.test_terminal import Shown

__all__ = ["runs"]


@pytest.fixture(autouse=True)
def left(accelerate: Run, mark: str) -> Iterator[None]:
    """Stop what a test leaves running; nothing of it may be left."""
    yield
    for name in listed(accelerate):
        accelerate("stop", "--now", name)
    assert until(lambda: not marked(mark)), f"left running: {marked(mark)}"


def test_a_detached_run_outlives_its_terminal(
    accelerate: Run, script: Script, environ: dict[str, str], tmp_path: Path
) -> None:
    """Whoever started it is hung up on, as a terminal that closes does."""
    text = (
        "import os, sys, time\nprint(os.getsid(0), os.getcwd(), os.environ['GIVEN'], sys.stdin.read(1) == '')\n"
        "print('careful', file=sys.stderr)\ntime.sleep(1000)\n"
    )
    words = [BIN / "accelerate", "launch", *N2, "-d", "--name", "away", script(text)]
    environ.pop("PYTHONUNBUFFERED", None)
    with subprocess.Popen(
        words,
        env={**environ, "GIVEN": "yes"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        assert shell.communicate(timeout=60)[0] == "away\n"
    assert shell.returncode == 0
    pid = listed(accelerate)["away"]["launcher"]
    assert os.getsid(pid) == pid
    os.kill(pid, signal.SIGWINCH)
    assert until(lambda: accelerate("logs").stdout.count("yes True\n") == 2)
    assert accelerate("logs", "--stderr").stdout == "careful\n" * 2
    assert accelerate("stop").returncode == 143
    assert gone([pid])


def test_a_refusal_is_a_refusal(accelerate: Run, script: Script, runs: Path) -> None:
    done = accelerate("launch", *N2, "-d", "nowhere.py")
    assert (done.returncode, done.stdout) == (2, "")
    path = str(script("import time\nprint('up', flush=True)\ntime.sleep(1000)\n"))
    assert accelerate("launch", *N2, "-d", "--name", "taken", path).stdout == "taken\n"
    done = accelerate("launch", *N2, "-d", "--name", "taken", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "a run 'taken' is running" in done.stderr
    done = accelerate("launch", *N2, "-d", "--name", "other", "--log_dir", "/proc/nowhere", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing was started" in done.stderr
    assert [record.name for record in runs.iterdir()] == ["taken"]
    assert "leave out no_record" in accelerate("launch", *N2, "-d", "--no_record", path).stderr
    done = accelerate("launch", *N2, "-d", path, env={"XDG_STATE_HOME": "/proc/nowhere"})
    assert (done.returncode, done.stdout) == (1, "")
    assert "no folder for this run" in done.stderr
    with subprocess.Popen([BIN / "accelerate", "logs", "-f"], env=env_of(runs), stdout=-1, stderr=-1) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"up\n"
        os.kill(listed(accelerate)["taken"]["launcher"], signal.SIGKILL)
        told = following.communicate(timeout=60)[1]
    assert (following.returncode, told) == (0, b"accel: taken ended without a status: its launcher was killed\n")


def test_a_run_whose_name_nobody_learns_is_ended(
    accelerate: Run, script: Script, runs: Path, environ: dict[str, str]
) -> None:
    """Else it would go on though its start has failed."""
    path = script("import time\nprint('up', flush=True)\ntime.sleep(1000)\n")
    words = [BIN / "accelerate", "launch", *N2, "-d"]
    runs.mkdir(parents=True, mode=0o700)
    for number in (signal.SIGINT, signal.SIGKILL):
        name = f"signal{int(number)}"
        turn = os.open(runs, os.O_RDONLY)
        fcntl.flock(turn, fcntl.LOCK_EX)  # the launcher waits for its turn to take the name
        with subprocess.Popen(
            [*words, "--name", name, path], env=environ, stdout=-1, start_new_session=True
        ) as starting:
            assert until(lambda popen=starting: bool(psutil.Process(popen.pid).children()), 60)
            (launcher,) = psutil.Process(starting.pid).children()
            assert until(lambda pid=launcher.pid: os.getsid(pid) == pid)
            os.killpg(starting.pid, number)
            os.close(turn)
            assert starting.communicate(timeout=60)[0] == b""
        assert starting.returncode == -number
        assert until(lambda name=name: listed(accelerate, "-a").get(name, {}).get("status") == 143, 20)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*words, "--name", "full", path], env=environ, stdout=full, stderr=-1, text=True)
    assert (done.returncode, "No space left" in done.stderr) == (1, True), done.stderr
    assert listed(accelerate, "-a")["full"]["status"] == 130
    for closed in (">&-", "2>&-", ">&- 2>&- <&-"):
        name = f"closed{len(closed)}"
        shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *words, "--name", name, path]
        done = subprocess.run(list(map(str, shell)), env=environ, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, f"{name}\n" if closed == "2>&-" else ""), done.stderr
        assert "Traceback" not in done.stderr
        assert until(lambda name=name: accelerate("logs", name).stdout.count("up") == 2)


def test_a_run_on_hosts_is_left_too(accelerate: Run, script: Script, runs: Path) -> None:
    """Its output and its end are here; its ranks are other launchers'."""
    words = ("launch", "--cpu", "--hosts", "localhost*2", "-d", "--name", "away")
    path = str(script("import os, time\nprint('up', os.environ['RANK'])\ntime.sleep(1000)\n"))
    done = accelerate(*words, "--log_dir", "/proc/nowhere", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "localhost: log_dir /proc/nowhere: " in done.stderr
    assert not (runs / "away").exists()
    assert accelerate(*words, path).stdout == "away\n"
    assert until(lambda: {"up 0", "up 1"} < set(accelerate("logs", "away").stdout.splitlines()))
    assert until(lambda: listed(accelerate)["away"]["state"] == "running")
    assert listed(accelerate)["away"]["ranks"] == 2
    assert accelerate("stop", "away").returncode == 143
    said = accelerate("logs", "away", "--stderr").stdout
    assert said.startswith("accel: host localhost; on the first: 2 processes")
    assert "accel: terminated by SIGTERM; ranks 0-1 ended in" in said
    assert kinds(runs / "away") == ["launched", "prints", "signal", "finished"]


def test_logs_of_one_rank_of_a_time_and_of_the_end(accelerate: Run, script: Script, runs: Path) -> None:
    text = (
        TURNS + "import os, sys, time\nrank = os.environ['RANK']\nprint('old', rank)\n"
        f"while not os.path.exists({str(runs / 'go')!r}): time.sleep(0.01)\n"
        "print('new', rank)\nif rank == '0': here('printed')\n"
        "announced('printed')\nsys.exit('x' if rank == '1' else 0)\n"
    )
    assert accelerate("launch", *N2, "-d", "--name", "logged", str(script(text))).returncode == 0
    assert until(lambda: sorted(accelerate("logs").stdout.splitlines()) == ["old 0", "old 1"])
    with subprocess.Popen(
        [BIN / "accelerate", "logs", "-f", "--rank", "1"], env=env_of(runs), stdout=-1
    ) as following:
        time.sleep(0.2)
        (runs / "go").touch()
        assert following.communicate(timeout=60)[0] == b"old 1\nnew 1\nx\n"
    assert accelerate("wait").returncode == 1
    whole = accelerate("logs").stdout
    assert "accel: rank 1 (local rank 1," in whole
    assert accelerate("logs", "--rank", "0").stdout == "old 0\nnew 0\n"
    assert accelerate("logs", "--tail", "2", "--rank", "1").stdout == "new 1\nx\n"
    assert accelerate("logs", "--since", "1h").stdout == whole
    assert accelerate("logs", "--since", "0").stdout == ""
    assert "--tail: -1 isn't a number of lines" in accelerate("logs", "--tail", "-1").stderr
    for command, rank in (("logs", "7"), ("attach", "-1")):
        done = accelerate(command, "--rank", rank)
        assert (done.returncode, f"logged has no rank {rank} here, only 0-1" in done.stderr) == (2, True)
    assert (
        "rank 1 of logged has printed nothing in the last 0s\n" in accelerate("logs", "--rank=1", "--since=0s").stderr
    )
    done = accelerate("attach", "--rank", "1", "--tail", "2")
    assert (done.returncode, done.stdout, done.stderr) == (1, "new 1\nx\n", "accel: logged ended: exit status 1\n")
    assert b"".join(piece.data for piece in api.Run(reading.Run(str(runs / "logged"))).output()) == whole.encode()
    assert "--since: 'soon' isn't a time" in accelerate("logs", "--since", "soon").stderr
    assert kinds(runs / "logged")[-1] == "finished"


def env_of(runs: Path) -> dict[str, str]:
    """An environment in which the runs are these."""
    return {**os.environ, "XDG_STATE_HOME": str(runs.parent.parent)}


@pytest.mark.exhaustive
def test_ctrl_c_leaves_an_attached_run_or_interrupts_it(accelerate: Run, script: Script, runs: Path) -> None:
    text = "import itertools, time\nfor number in itertools.count(): print(number); time.sleep(0.01)\n"
    assert accelerate("launch", "-q", "--cpu", "-d", "--name", "seen", str(script(text))).returncode == 0
    assert until(lambda: "99\n" in accelerate("logs").stdout)
    left, ended = b"detached from seen, which goes on", b"accel: seen ended: terminated by SIGINT\n"
    for flags, status, does, said in (([], 0, b"leaves", left), (["--stop_on_interrupt"], 130, b"interrupts", ended)):
        words = [BIN / "accelerate", "attach", "see", *flags]
        with subprocess.Popen(words, env=env_of(runs), stdout=-1, stderr=-1, bufsize=0) as attached:
            assert attached.stdout is not None
            first = attached.stdout.readline()
            attached.send_signal(signal.SIGINT)
            rest, told = attached.communicate(timeout=60)
        assert attached.returncode == status
        assert re.match(rb"accel: attached to seen \(running, last line: \d+\); Ctrl-C %s it\n" % does, told)
        assert said in told
        numbers = [int(line) for line in (first + rest).splitlines() if line.isdigit()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert numbers[0] >= 99
    assert accelerate("wait", "seen").returncode == 130


@pytest.mark.exhaustive
def test_a_fast_run_is_attached_to_again_and_again_and_followed(
    accelerate: Run, script: Script, runs: Path, tmp_path: Path
) -> None:
    """While its output begins another file again and again, too."""
    end = tmp_path / "end"
    text = (
        "import itertools, os, time\nfor number in itertools.count():\n    print('step', number, 'x' * 100)\n"
        f"    if number % 100 == 0: time.sleep(0.01)\n    if os.path.exists({str(end)!r}): break\n"
    )
    flags = ("-q", "--cpu", "-d", "--name", "fast", "--output_limit", "6")
    assert accelerate("launch", *flags, str(script(text))).returncode == 0
    with (tmp_path / "followed").open("wb") as file:
        following = subprocess.Popen([BIN / "accelerate", "logs", "-f"], env=env_of(runs), stdout=file, stderr=-1)
    for _cycle in range(20):
        unbuffered = {**env_of(runs), "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen([BIN / "accelerate", "attach"], env=unbuffered, stdout=-1, stderr=-1) as attached:
            assert attached.stdout is not None
            first = attached.stdout.readline()
            attached.send_signal(signal.SIGINT)
            in_turn(first + attached.stdout.read())
    older = runs / "fast" / "output.older"
    assert until(lambda: older.exists() and b"step 0 " not in older.read_bytes()[:200], 60)
    end.touch()
    assert following.wait(60) == 0
    assert following.stderr is not None
    assert following.stderr.read() == b""
    following.stderr.close()
    assert in_turn((tmp_path / "followed").read_bytes()) == 0
    assert in_turn(accelerate("logs").stdout.encode()) > 0


def in_turn(text: bytes) -> int:
    """Check that lines are whole and follow each other; return the number of the first one."""
    found = [line.split() for line in text.splitlines()]
    assert all(word == b"step" and len(rest) == 100 for word, _number, rest in found)
    listed = [int(number) for _word, number, _rest in found]
    assert listed == list(range(listed[0], listed[0] + len(listed)))
    return listed[0]


@pytest.mark.exhaustive
def test_the_size_of_the_terminal_that_attaches_follows(accelerate: Run, script: Script, runs: Path) -> None:
    """Also in the next attempt; both streams are terminals of their own, which the record tells apart."""
    text = (
        "import os, shutil, signal, sys, time\n"
        "def show(*_): print('size', *shutil.get_terminal_size((1, 1)))\n"
        "signal.signal(signal.SIGWINCH, show)\n"
        "print('bar', sys.stdout.isatty(), end='\\r')\nprint('error', sys.stderr.isatty(), file=sys.stderr)\n"
        "show()\n"
        f"while not os.path.exists({str(runs / 'fail')!r}): time.sleep(0.01)\n"
        "if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0': raise ConnectionRefusedError('not yet')\n"
        "time.sleep(1000)\n"
    )
    flags = ("-d", "--terminal", "--name", "wide", "--prefix", "--max_restarts", "1", "--restart_policy", "always")
    assert accelerate("launch", *N2, *flags, str(script(text))).returncode == 0
    assert until(lambda: accelerate("logs", "wide").stdout.count("size 76 24\n") == 2)  # a prefix takes four columns
    assert accelerate("logs", "wide").stdout.count("bar True\n") == 2
    assert accelerate("logs", "--stderr").stdout.count("] error True\n") == 2
    shown = Shown(env_of(runs), "wide", program=(BIN / "accelerate", "attach"))
    for columns in (132, 61):
        terminals.set_size(shown.ours, (40, columns))
        shown.popen.send_signal(signal.SIGWINCH)
        shown.until(b"size %d 40" % (columns - 4), 2)
    (runs / "fail").touch()
    assert until(lambda: "restart 1 of 1" in accelerate("logs", "wide").stdout)
    terminals.set_size(shown.ours, (40, 99))  # while nobody has a terminal
    shown.popen.send_signal(signal.SIGWINCH)
    shown.until(b"size 95 40", 2)
    shown.popen.send_signal(signal.SIGINT)
    assert "detached from wide, which goes on" in shown.end()


@pytest.mark.exhaustive
def test_a_run_that_keeps_no_output(accelerate: Run, script: Script) -> None:
    accelerate("launch", *N2, "--name", "here", str(script("print(1)")))
    done = accelerate("logs", "here")
    assert done.returncode == 2
    assert "the record of here keeps no output: it wasn't started with --detach" in done.stderr


@pytest.mark.exhaustive
def test_output_is_bounded(accelerate: Run, script: Script, runs: Path) -> None:
    text = "for number in range(40000): print('x' * 90, number)\n"
    flags = ("-d", "--name", "long", "--output_limit", "1")
    assert accelerate("launch", *N2, *flags, str(script(text))).returncode == 0
    assert accelerate("wait").returncode == 0
    assert sum(path.stat().st_size for path in (runs / "long").glob("output*")) <= 1 << 20
    found = [accelerate("logs", "--rank", rank).stdout.splitlines() for rank in "01"]
    for lines in found:
        assert [int(line.split()[1]) for line in lines] == list(range(40000 - len(lines), 40000))
    assert sum(map(len, found)) > 4000
    assert "aren't shown: they left the record (--output_limit)" in accelerate("logs").stderr
    assert accelerate("logs", "--tail", "3").stderr == ""


def test_what_is_read_while_it_is_written_comes_once_and_in_order(tmp_path: Path) -> None:
    """Whatever the sizes, as long as the reader doesn't fall behind by half of the limit."""
    chance = random.Random(7)
    kept = store.Store(str(tmp_path), 20_000)
    slow = reader.Reader(str(tmp_path))
    written, read = b"", b""
    for number in range(3000):
        data = b"%d " % number * chance.randrange(60) + b"\n"
        kept.print(chance.randrange(3), 1, data)
        written += data
        if chance.random() < 0.3:
            read += b"".join(piece.data for piece in slow.read())
    read += b"".join(piece.data for piece in slow.read())
    assert read == written
    rest = b"".join(piece.data for piece in reader.Reader(str(tmp_path)).read())
    assert written.endswith(rest)
    assert len(rest) > 5_000
    late = reader.Reader(str(tmp_path), from_now=True)
    assert list(late.read()) == []
    kept.print(0, 1, b"last\n")
    assert [piece.data for piece in late.read()] == [b"last\n"]


def test_a_full_disk_leaves_out_output_and_nothing_else(tmp_path: Path) -> None:
    notes: list[str] = []
    kept = store.Store(str(tmp_path), 1 << 20, notes.append)
    kept.print(0, 1, b"first")
    real, kept.fd = kept.fd, os.open("/dev/full", os.O_WRONLY)
    for rank in range(2):
        kept.print(rank, 1, b"second\n")
    assert kept.failure == "the output of the run is incomplete: No space left on device"
    assert notes == [f"7/{errno.ENOSPC}", f"14/{errno.ENOSPC}"]
    kept.fd = real
    for data in (b"third\n", b"fourth\n"):
        kept.print(0, 1, data)
    missing = b"\naccel: 14 bytes of output are missing here: No space left on device\n"
    found = [piece.data for piece in reader.Reader(str(tmp_path)).read()]
    assert found == [b"first", missing, b"third\n", b"fourth\n"]


def test_a_reader_finds_the_next_piece_from_anywhere(tmp_path: Path) -> None:
    """It may begin within what is written just now; ranks may print what looks like the first line of a piece."""
    kept = store.Store(str(tmp_path), 1 << 20)
    kept.print(0, 1, b"first " * 50 + b"\n1.000 0 1 99999999\n\x1e1.000 0 1 5 12\n" + b"x" * 100)
    kept.print(0, 1, b"second\n")
    path = tmp_path / store.NEWER
    whole = path.read_bytes()
    kept.print(0, 1, b"third\n")
    path.write_bytes(whole[:200])  # where the first piece is being written
    late = reader.Reader(str(tmp_path), from_now=True)
    with path.open("ab") as file:
        for place in range(200, len(whole)):
            file.write(whole[place : place + 1])
            file.flush()
            if place % 50 == 0:
                assert list(late.read()) == []
        damage = b"torn" * 40
        file.write(damage + b"\x1e2.000 1 2 6 %d\nfourth" % (len(whole) + len(damage)))
    assert [piece.data for piece in late.read()] == [b"second\n", b"fourth"]
    assert [piece.data for piece in reader.Reader(str(tmp_path)).read()][1:] == [b"second\n", b"fourth"]


def test_a_reader_that_falls_behind_says_how_much_it_has_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does one that comes late, if it wants what was left out."""
    times = [0.0]
    monkeypatch.setattr(store, "steady", lambda: times.append(times[-1] + 1) or times[-1])
    kept = store.Store(str(tmp_path), 1000)
    slow = reader.Reader(str(tmp_path))
    for number in range(12):  # two files are full, the third one isn't
        kept.print(0, 1, b"%90d" % number)
        if number == 2:
            assert len(list(slow.read())) == 3
    assert [int(piece.data) for piece in slow.read()] == list(range(3, 12))
    assert slow.missed == 0
    for number in range(100):
        kept.print(0, 1, b"%90d" % number)
    read = [int(piece.data) for piece in slow.read()]
    assert read == list(range(100 - len(read), 100))
    assert 0 < slow.missed < 100 * 200
    late = reader.Reader(str(tmp_path))
    assert [int(piece.data) for piece in late.read()] == read
    assert late.missed > slow.missed
    run: Any = SimpleNamespace(notes={}, now=times[-1])
    for since, count, missed in ((1000.0, len(read), late.missed), (2.0, 3, 0)):
        recent = api.Output(run, reader.Reader(str(tmp_path)))
        assert len(list(recent.read(since))) == count
        assert recent.missed == missed


def test_a_full_disk_while_the_output_begins_another_file(tmp_path: Path) -> None:
    kept = store.Store(str(tmp_path), 1000)
    for number in range(3):
        kept.print(0, 1, b"%90d" % number)
    make, kept._opened = kept._opened, lambda: os.open("/proc/nowhere", os.O_WRONLY)
    for number in range(3, 6):
        kept.print(0, 1, b"%90d" % number)
    assert "incomplete" in kept.failure
    kept._opened = make
    kept.print(0, 1, b"%90d" % 6)
    found = [piece.data.strip() for piece in reader.Reader(str(tmp_path)).read()]
    assert found == [
        b"0",
        b"1",
        b"2",
        b"3",
        b"accel: 180 bytes of output are missing here: No such file or directory",
        b"6",
    ]


@pytest.mark.exhaustive
def test_a_detached_run_has_its_plan_in_its_record(accelerate: Run, script: Script, runs: Path) -> None:
    assert accelerate("launch", "-q", "--cpu", "-d", "--name", "single", str(script("print('one')"))).returncode == 0
    assert accelerate("wait", "single").returncode == 0
    run = json.loads((runs / "single" / folder.RUN).read_text())
    assert "-d" in run["command"]
    assert accelerate("logs", "single").stdout == "one\n"


def test_the_record_s_lines_are_those_of_a_terminal(
    accelerate: Run, script: Script, runs: Path, tmp_path: Path
) -> None:
    """Long ones stay whole, beginnings come without their end, ends that never come are put there, with prefixes."""
    text = (
        TURNS + "import sys\nrank = os.environ['RANK']\ndef put(text): os.write(1, text.encode())\n"
        "if rank == '0':\n    put('begin')\n    announced('seen')\n    put('ning\\nabc')\n    sys.exit(here('over'))\n"
        "dead('over')\nput('def\\n')\n"
    )
    long = "import os\nfor turn in range(5): os.write(1, os.environ['RANK'].encode() * 300_000 + b'\\n')\n"
    flags = ("-d", "--name", "lines", "--tee", "3", "--log_dir", str(runs / "logs"))
    assert accelerate("launch", *N2, *flags, str(script(text))).returncode == 0
    assert until(lambda: accelerate("logs", "lines").stdout.endswith("begin"), 60)
    assert until(lambda: listed(accelerate)["lines"]["line"] == "begin", 60)
    (tmp_path / "seen").symlink_to("1")
    assert accelerate("wait", "lines").returncode == 0
    shown = accelerate("logs", "lines").stdout
    assert sorted(line.partition(":")[2] or line for line in shown.splitlines()) == ["abc", "beginning", "def"], shown
    flags = ("-d", "--name", "long", "--prefix")
    assert accelerate("launch", *N2, *flags, str(script(long))).returncode == 0
    assert accelerate("wait", "long").returncode == 0
    lines = accelerate("logs", "long").stdout.splitlines()
    assert sorted({*lines}) == [f"[{rank}] {rank * 300_000}" for rank in "01"]
    assert accelerate("logs", "long", "--tail", "1").stdout.splitlines() == lines[-1:]
    assert re.fullmatch(r"\.\.\.([01])\1{196}", listed(accelerate, "-a")["long"]["line"])


def test_a_run_without_its_folder_the_shell_s_descriptors_and_a_record(
    accelerate: Run, script: Script, environ: dict[str, str], tmp_path: Path
) -> None:
    """Its folder is removed at once, and it asks to be queued again; another one leaves no record."""
    (tmp_path / "gone").mkdir()
    go = tmp_path / "go"
    text = f"import os, sys, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\nsys.exit(75)\n"
    path = script(text)
    reader, writer = os.pipe()
    words = [BIN / "accelerate", "launch", *N2, "-d", "--name", "away", path]
    done = subprocess.run(
        words, env=environ, cwd=tmp_path / "gone", pass_fds=(writer,), check=False, timeout=60, capture_output=True
    )
    (tmp_path / "gone").rmdir()
    assert done.returncode == 0, done.stderr
    os.close(writer)
    os.set_blocking(reader, False)
    assert until(lambda: os.read(reader, 1) == b"", 1)  # or it would block
    os.close(reader)
    without = [BIN / "accelerate", "launch", *N2, "--no_record", "--name", "none", path]
    with subprocess.Popen(without, env=environ) as running:
        assert until(lambda: listed(accelerate).get("none", {}).get("running_ranks") == 2, 60)
        with subprocess.Popen([BIN / "accelerate", "wait", "none"], env=environ, stdout=-1, text=True) as waiting:
            opened = Path(f"/proc/{waiting.pid}/fd")
            assert until(
                lambda: any("none/lock" in str(fd.readlink()) for fd in opened.iterdir() if fd.is_symlink()), 60
            )
            go.touch()
            assert waiting.communicate(timeout=60)[0] == "none ended: exit status 75\n"
        assert (running.wait(60), waiting.returncode) == (75, 75)
    assert accelerate("wait", "away").returncode == 75
    assert "the run asks to be queued again (exit status 75" in accelerate("report", "away").stdout
    assert "incomplete" not in accelerate("report", "away").stdout


def test_the_launcher_s_last_lines_wait_for_no_rank_s(tmp_path: Path) -> None:
    """A stranger may hold the rank's pipe open, in the middle of a line."""
    kept = store.Store(str(tmp_path), 1 << 20)
    ours, theirs = os.pipe()
    rank = channel.Channel(ours, kept.stream)
    kept.stream.put(rank, b"abc")
    detaching._Said(kept).write("report\n")
    assert [piece.data for piece in reader.Reader(str(tmp_path)).read()] == [b"abc", b"\n", b"report\n"]
    os.close(ours)
    os.close(theirs)
