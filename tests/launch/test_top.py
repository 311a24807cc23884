"""`accelerate top` in a terminal: what each rank does now, by keys."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from accel_cli.commands.runs import listing
from accel_cli.commands.runs.live import sheet
from accel_cli.commands.runs.live.screen import Pen
from accel_cli.commands.runs.live.watch import Output, Watch
from accel_launch import runs as api
from accel_launch.machine import device_memory
from accel_launch.planning.types import Plan
from accel_launch.running.onlookers.registry import ranks, reading
from accel_launch.running.onlookers.registry.record.states import States
from accel_launch.running.onlookers.stall.telling import Stall
from accel_launch.running.output import channel
from accel_launch.running.output.stream import Stream
from accel_launch.running.output.tail import Tail
from accel_launch.running.report.records import Event
from tests.conftest import BIN, Run
from tests.launch.processes import Script, Start, until
from tests.launch.screens import ENTER, LEAVE, STYLE, Screen
from tests.launch.test_runs import N2, runs

__all__ = ["runs"]

HOSTILE = (
    "import os, sys, time\n"
    "rank = os.environ['RANK']\n"
    "print('\\x1b[31mred\\x1b[0m \\x1b]0;title\\x07 \\x1b[2J <b>rank</b>', rank, '\\u4e2d\\u6587 \\u202e', 'x' * 300)\n"
    "print('at', rank, flush=True)\n"
    "while not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
    "sys.exit(3 * (rank == '1'))\n"
)
TOP = (BIN / "accelerate", "top")
Show = Callable[..., Screen]


def recorded(folder: Path) -> api.Run:
    """The run whose record this is."""
    return api.Run(reading.Run(str(folder)))


@pytest.fixture
def show(environ: dict[str, str]) -> Iterator[Show]:
    """Start a program on a terminal."""
    screens: list[Screen] = []

    def start(*words: object, columns: int = 80, lines: int = 24, term: str = "xterm") -> Screen:
        screens.append(Screen(words or TOP, environ, columns, lines, term))
        return screens[-1]

    yield start
    for screen in screens:
        screen.close()


@pytest.fixture
def run(launched: Start, script: Script, tmp_path: Path) -> subprocess.Popen[str]:
    """A run of two ranks that print what could harm a terminal."""
    running = launched(*N2, "--name", "one", script(HOSTILE), tmp_path / "end")
    assert running.stdout is not None
    while not running.stdout.readline().startswith("at"):
        pass
    return running


def fits(screen: Screen) -> bool:
    """Whether a whole screen has the terminal's size."""
    columns, lines = screen.size
    return len(screen.shown) == lines and all(len(line) < columns for line in screen.shown)


def test_a_terminal_shows_ranks_output_and_stacks_and_stops_the_run(
    run: subprocess.Popen[str], show: Show, runs: Path
) -> None:
    top = show()
    lines = top.until(lambda lines: sum("running  0." in line for line in lines) == 2)
    assert re.match(r"one  running  age \d+ s  2 ranks  attempts 1  stalls 0$", lines[0])
    assert lines[1].startswith("accelerate launch -q --cpu")
    assert lines[3].split() == ["RANK", "STATE", "CPU", "MEMORY", "OUTPUT", "LAST", "LINE"]
    assert lines[5].split()[:2] == ["1", "running"]
    assert lines[5].endswith("at 1")
    assert fits(top)
    top.press("1f")
    lines = top.has("output of rank 1")
    assert top.has("red \\x1b]0;title\\x07 \\x1b[2J <b>rank</b> 1")
    assert top.has("xxxxxx")
    top.press("\x1b[D")
    top.has("<b>rank</b> 0")
    top.resize(120, 40)
    top.until(lambda _lines: fits(top))
    top.press("s")
    top.has(" of 2 ranks (0")  # on a slow machine one may be seen running, and the other asleep
    top.press("?")
    top.has("stop the run; it asks first")
    top.press("\x1b")
    top.has("LAST LINE")
    top.resize(80, 6)
    top.has("ranks 0-0 of 2")
    top.resize(120, 40)
    top.press("xn")
    top.press("x")
    top.has("Stop one? y: yes, any other key: no")
    assert not (runs / "one" / "report.json").exists()
    top.press("y")
    told = top.end()
    assert top.popen.returncode == 0
    assert "one  ended (143)  age" in told
    assert re.search(r"^0 +SIGTERM +at 0$", told, re.MULTILINE)
    assert told.endswith("one ended: terminated by SIGTERM\n")
    assert run.wait(20) == -signal.SIGTERM
    assert top.restored
    # Nothing of what the ranks print has come through, and sixteen colors are enough.
    assert not {"\x07", "\u202e", "\x1b]0", "\x1b[2J"} & {*re.findall(r"\x07|\u202e|\x1b\]0|\x1b\[2J", top.seen)}
    codes = {int(code) for found in STYLE.findall(top.seen) for code in found.split(";") if code}
    assert codes <= {0, 1, 2, 7, *range(30, 38), *range(40, 48), *range(90, 98), *range(100, 108)}


def test_without_a_terminal_there_is_one_table(
    run: subprocess.Popen[str], show: Show, accelerate: Run, tmp_path: Path
) -> None:
    done = accelerate("top", "on")
    assert done.returncode == 0
    head, columns, *rows = done.stdout.splitlines()
    assert head.startswith("one  running  age ")
    assert columns.split() == ["RANK", "STATE", "CPU", "MEMORY", "OUTPUT", "LAST", "LINE"]
    assert [row.split()[:2] for row in rows] == [["0", "running"], ["1", "running"]]
    dumb = show(*TOP, term="dumb")
    assert dumb.end().startswith("one  running  age ")
    assert "\x1b" not in dumb.seen
    assert "--port is the port of a page; add --web\n" in accelerate("top", "--port", "1").stderr
    assert "--port: 65536 isn't a port, from 0 to" in accelerate("top", "--web", "--port", "65536").stderr
    (tmp_path / "end").touch()
    assert run.wait(20) == 3
    assert "no run of this user is running" in accelerate("top").stderr


@pytest.mark.exhaustive
def test_the_terminal_is_as_before_in_every_end(run: subprocess.Popen[str], show: Show, tmp_path: Path) -> None:
    for end in ("q", "\x03", signal.SIGTERM, signal.SIGHUP):
        top = show()
        top.has("LAST LINE")
        assert not top.restored
        if end == "q":  # without a shell that would continue it, nothing stops it
            top.press("\x1a")
            top.until(
                lambda _lines, top=top: top.seen.count(ENTER) > 1 and "LAST LINE" in top.seen.rpartition(ENTER)[2]
            )
        top.press(end) if isinstance(end, str) else os.kill(top.popen.pid, end)
        told = top.end()
        assert top.restored
        if isinstance(end, str):
            assert (top.popen.returncode, told) == (
                0, "accel: left one, which goes on; accelerate top one returns to it\n"
            )  # fmt: skip
        else:
            assert top.popen.returncode == -end
    text = "from accel_cli.commands.runs.live.terminal import Terminal\nwith Terminal() as t:\n    t.write('\\x1b[H')\n    1 / 0\n"
    broken = show(sys.executable, "-c", text)
    assert "ZeroDivisionError" in broken.end()
    assert broken.restored
    shell = show("bash", "--norc", "--noprofile", "--noediting", "-i")
    shell.press(f"{BIN}/accelerate top\n")
    shell.has("LAST LINE")
    shell.press("\x1a")
    shell.until(lambda _lines: "Stopped" in shell.seen.rpartition(LEAVE)[2])
    before = shell.seen.count(ENTER)
    shell.press("fg\n")
    shell.until(lambda _lines: shell.seen.count(ENTER) > before and "LAST LINE" in shell.seen.rpartition(ENTER)[2])
    (tmp_path / "end").touch()
    shell.until(lambda _lines: "one ended: exit status 3" in shell.seen.rpartition(LEAVE)[2])
    shell.press("echo status $?\n")
    shell.until(lambda _lines: "status 0" in shell.seen.rpartition(LEAVE)[2])
    assert psutil.Process(shell.popen.pid).children() == []


@pytest.mark.exhaustive
def test_a_launcher_that_is_stopped_and_another_attempt(
    launched: Start, script: Script, runs: Path, tmp_path: Path
) -> None:
    text = (
        "import os, sys, time\nattempt = os.environ['TORCHELASTIC_RESTART_COUNT']\n"
        "print('50 %\\rattempt', attempt, end='', flush=True)\n"
        f"while not os.path.exists({str(tmp_path / 'end')!r} + attempt): time.sleep(0.02)\n"
        "sys.exit(1)\n"
    )
    running = launched(*N2, "--name", "two", "--max_restarts", "1", "--restart_policy", "always", script(text))
    assert until((runs / "two" / "state.json").exists)
    found = recorded(runs / "two")
    watch, output = Watch(found), Output(found, 1)

    def shows(line: str) -> bool:
        output.read()
        return output.shown[-1:] == (line,)

    assert until(lambda: shows("attempt 0"), 30)
    assert output.shown == ("50 %", "attempt 0")
    os.kill(running.pid, signal.SIGSTOP)
    assert until(lambda: watch.look().state == "stopped")
    os.kill(running.pid, signal.SIGCONT)
    (tmp_path / "end0").touch()
    assert until(lambda: shows("attempt 1"), 30)
    assert output.shown == ("50 %", "(attempt 2)", "50 %", "attempt 1")
    assert "attempts 2" in watch.look().facts
    (tmp_path / "end1").touch()
    running.wait(30)
    assert until(lambda: watch.look().ended == "two ended: exit status 1")
    assert {row.cells[1] for row in watch.sheet.rows} <= {"exit 1", "SIGTERM"}
    assert {row.mood for row in watch.sheet.rows} == {"bad"}


def test_what_the_launcher_has_not_kept_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(recorded(tmp_path), 0)
    answers = iter([[0, "one\ntw"], [2500, "lf a line\nnine\nten \x1b[3"], [0, "2mgreen\x1b[m\n"]])

    def answer() -> dict[str, Any]:
        lost, text = next(answers)
        return {"attempt": 0, "output": [{"until": 9, "lost": lost, "text": text}]}

    monkeypatch.setattr(output, "_ask", answer)
    output.read()
    assert output.shown == ("one", "tw")
    output.read()
    output.read()
    assert output.shown == ("one", "(2.5 kB left out)", "nine", "ten green")


def test_the_output_of_a_rank_is_in_the_order_in_which_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of both streams, as far as each is kept; also what came before anybody looked, and in parts of a letter."""
    times = iter(range(1, 10_000))
    monkeypatch.setattr(channel, "time", SimpleNamespace(time=lambda: next(times), monotonic=time.monotonic))
    pipes = [os.pipe() for _stream in range(2)]
    both = [channel.Channel(reader, Stream(1)) for reader, _writer in pipes]
    both[1].tail = Tail()
    output = Output(recorded(tmp_path), 0)

    def prints(place: int, data: bytes) -> None:
        os.write(pipes[place][1], data)
        both[place].shown = False
        both[place].read()

    def answer() -> dict[str, Any]:
        found = [ranks._since(one, after) for one, after in zip(both, output.after or [0, 0], strict=True)]
        return {"attempt": 0, "output": found}

    monkeypatch.setattr(output, "_ask", answer)
    for number in range(300):
        prints(0, b"%d %s\n" % (number, b"x" * 100))
        if number % 10 == 0:
            prints(1, b"warning %d \xc3" % number)
            prints(0, b"between\n")
            prints(1, b"\xa4\n")
    assert max(len(one.bursts) for one in both) <= channel.BURSTS
    output.read()
    prints(1, b"new\n")
    prints(0, b"newer\n")
    output.read()
    assert output.shown[-2:] == ("new", "newer")
    lines = output.shown[output.shown.index("warning 280 \xe4") - 1 : -2]
    expected: list[str] = []
    for number in range(280, 300):
        told = [f"warning {number} \xe4"] if number % 10 == 0 else []
        expected += [f"{number} {'x' * 100}", *["between"][: len(told)], *told]
    assert list(lines) == expected[1:]
    assert sum(line.startswith("warning") for line in output.shown) == 30
    for fds in pipes:
        for fd in fds:
            os.close(fd)


def figures(rank: int, **facts: Any) -> dict[str, Any]:
    """What a launcher says of a rank."""
    return {
        "rank": rank, "pid": rank, "state": "running", "ended": None, "cpu": 1.0, "memory": 3 << 20, "printed": 0,
        "line": "loss 0.1", **facts,
    }  # fmt: skip


def test_what_ranks_use_of_devices_and_how_they_stand_still_is_shown() -> None:
    many = [figures(rank, state="waiting", device_memory=70 << 30, device_use=99.6) for rank in range(100)]
    many[7] |= {"state": "still", "line": "\x1b[32mgreen\x1b[0m\t\x1b[A"}
    many[8] |= {"state": "ended", "ended": "terminated by SIGKILL", "device_memory": None, "device_use": None}
    columns, rows = sheet.rows(many, {7: (1.5, 1234.0), 8: (1.0, 1.0)})
    assert columns == sheet.HEAD
    assert rows[7].cells == ("7", "still", "1.50", "3 MB", "71680 MB", "100 %", "1.2 kB/s", "green   \\x1b[A")
    assert rows[8].cells == ("8", "SIGKILL", "", "3 MB", "", "", "", "loss 0.1")
    assert [rows[rank].mood for rank in (6, 7, 8)] == ["", "odd", "bad"]
    assert (listing.cut("\u4e2d" * 9, 7), listing.cut("e\u0301" * 9, 2)) == ("\u4e2d" * 3, "e\u0301" * 2)
    found = sheet.Sheet("one", "stalled", "odd", columns=columns, rows=rows)
    for chosen in (0, 55, 99):  # the chosen one is among those that fit
        lines = Pen(80, 24).ranks(found, chosen, 20)
        assert len(lines) == 20
        assert [line for line in lines if "\x1b[7m" in line and f" {chosen}" in line]


def test_a_standstill_that_is_told_twice_is_one() -> None:
    stall = Stall(at=2.0, since=1.0, ranks=(0, 1), groups=(), kinds={0: "waiting", 1: "still"})
    plan = SimpleNamespace(commands=(1, 2), together=True)
    states = States(cast("Plan", plan))
    seen: list[tuple[str, int, dict[int, str]]] = []
    for kind in ("started", "started", "stalled", "stalled", "moves", "stalled"):
        states.follow(Event(kind, -1, -1, 0, stall=stall if kind == "stalled" else None))
        seen.append((states.now, states.stalls, states.doing))
    assert seen[2:] == [
        ("stalled", 1, stall.kinds), ("stalled", 1, stall.kinds), ("running", 1, {}), ("stalled", 2, stall.kinds)
    ]  # fmt: skip


def test_devices_are_as_busy_as_their_drivers_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\ncase $1 in\n--query-compute-apps=pid,gpu_uuid) printf '11, GPU-a\\n11, GPU-b\\n[N/A], GPU-b\\n' ;;\n"
        "--query-gpu=gpu_uuid,utilization.gpu) printf 'GPU-a, 30\\nGPU-b, 90\\nGPU-c, [N/A]\\n' ;;\nesac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    for name, text in {
        "kfd/kfd/proc/12/vram_500": "1048576", "kfd/kfd/proc/12/vram_501": "0", "kfd/kfd/topology/nodes/1/gpu_id": "500",
        "kfd/kfd/topology/nodes/1/properties": "simd_count 4\ndrm_render_minor 128\n",
        "drm/renderD128/device/gpu_busy_percent": "77\n",
    }.items():  # fmt: skip
        path = tmp_path / "sys" / "class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert device_memory.busy(str(tmp_path)) == {11: 60.0, 12: 77.0}
