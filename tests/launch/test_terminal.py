"""How a run ends on a terminal: the first failure whole, its consequences a line each, and after Ctrl-C one line."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import BIN, Run
from tests.launch.processes import PAUSE, Script

ME = "import os, signal, subprocess, sys, time\nrank = os.environ.get('RANK', '-')\n"
COMMAND = (BIN / "accelerate", "launch")
N3 = ("--cpu", "--num_processes", "3")
VICTIMS = ME + (
    "def fail(kind, text):\n    raise kind(text)\n"
    "import atexit\ntime.sleep(0.2 if rank == '0' else 0.7)\n"
    "atexit.register(time.sleep, 1.5 if rank == '0' else 0.5)\n"
    "if rank == '0': fail(ValueError, 'cause')\n"
    "try:\n    fail(OSError, 'reset')\nexcept OSError as error:\n    raise ConnectionError('victim') from error\n"
)
WAITING = ME + "print('ready', flush=True)\n" + PAUSE


class Shown:
    """A launch on a terminal."""

    def __init__(
        self, environ: dict[str, str], *words: object, cwd: Path | None = None, program: Sequence[object] = COMMAND
    ) -> None:
        self.ours, end = pty.openpty()
        self.seen = b""
        self.popen = subprocess.Popen(
            [*map(str, program), *map(str, words)],
            stdin=end,
            stdout=end,
            stderr=end,
            env={"TERM": "xterm", **environ},
            cwd=cwd,
            start_new_session=True,
        )
        os.close(end)

    def until(self, wanted: bytes, count: int = 1) -> None:
        """Read until something was shown."""
        end = time.monotonic() + 20
        while self.seen.count(wanted) < count:
            assert time.monotonic() < end, self.seen
            self._read()

    def _read(self) -> bool:
        if not select.select([self.ours], [], [], 0.1)[0]:
            return True
        try:
            self.seen += os.read(self.ours, 65536)
        except OSError:  # the last writer is gone
            return False
        return True

    def end(self) -> str:
        """Wait for the end and return everything that was shown."""
        end = time.monotonic() + 30
        while self._read():
            assert time.monotonic() < end, self.seen
        self.popen.wait(10)
        os.close(self.ours)
        return self.seen.decode().replace("\r\n", "\n")


def test_consequences_are_a_line_each(environ: dict[str, str], script: Script) -> None:
    path = script(VICTIMS)
    shown = Shown(environ, *N3, path).end()
    assert shown.count("Traceback (most recent call last):") == 1
    assert "in fail\n    raise kind(text)\nValueError: cause\n" in shown
    also = "accel: ranks 1-2 also raised ConnectionError: victim (--debug shows the traceback, --log_dir keeps it)\n"
    assert also in shown
    assert shown.index(also) < shown.index("rank 0 (local rank 0")
    whole = Shown(environ, *N3, "--debug", path).end()
    assert whole.count("ConnectionError: victim\n") == 2
    assert "also raised" not in whole


def test_who_takes_lines_gets_those_of_consequences_too(environ: dict[str, str], script: Script) -> None:
    text = (
        "import sys\nfrom accel_launch import launch\nlines = []\n"
        "launch(sys.argv[1], cpu=True, num_processes=3, on_line=lines.append)\n"
        "print([line.text for line in lines].count('ConnectionError: victim'))\n"
    )
    assert Shown(environ, script(VICTIMS), program=[sys.executable, "-c", text]).end() == "2\n"


def test_no_name_of_a_log_folder_moves_the_cursor(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[2Jb\nc"
    shown = Shown(environ, *N3, "--log_dir", folder, script(VICTIMS)).end()
    assert "accel: logs in " in shown
    assert "also raised ConnectionError: victim (" in shown
    assert "  log: " in shown
    assert "\x1b[2J" not in shown
    assert shown.count("a\\x1b[2Jb\\nc/") == 3


@pytest.mark.exhaustive
def test_log_files_and_pipes_have_every_byte(
    environ: dict[str, str], script: Script, tmp_path: Path, accelerate: Run
) -> None:
    path = script(VICTIMS)
    shown = Shown(environ, *N3, "--log_dir", "logs", path, cwd=tmp_path).end()
    run = (tmp_path / "logs/latest").resolve()
    assert f"also raised ConnectionError: victim ({run})\n" in shown
    for rank in (1, 2):
        kept = (run / f"attempt_0/{rank}/stderr.log").read_text()
        assert kept.count("Traceback (most recent call last):") == 2
        assert kept.endswith("ConnectionError: victim\n")
    piped = accelerate("launch", *N3, path).stderr
    assert piped.count("Traceback (most recent call last):") == 5
    assert "also raised" not in piped


def test_the_report_file_has_the_others_tracebacks(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    shown = Shown(environ, *N3, "--report", "report.json", script(VICTIMS), cwd=tmp_path).end()
    assert "also raised ConnectionError: victim (report.json)\n" in shown
    assert (tmp_path / "report.json").read_text().count("OSError: reset") == 2
    told = json.loads((tmp_path / "report.json").read_text())["also_raised"]
    assert sorted((one["rank"], one["exception"]) for one in told) == [(n, "ConnectionError: victim") for n in (1, 2)]


def test_what_ends_no_rank_is_shown(environ: dict[str, str], script: Script) -> None:
    path = script(
        ME + "import traceback\ntime.sleep(0.2 * int(rank))\ntry:\n    raise ValueError(f'handled {rank}')\n"
        "except ValueError:\n    traceback.print_exc()\nif rank == '1':\n    print('and on', flush=True)\n"
        "time.sleep(3)\nprint('still here', rank, flush=True)\ntime.sleep(60)\n"
    )
    running = Shown(environ, *N3, path)
    for rank in range(3):
        running.until(f"ValueError: handled {rank}\r\n".encode())
        assert b"still here 1" not in running.seen
    running.until(b"and on")
    running.popen.terminate()
    running.end()


@pytest.mark.parametrize("flags", [(), ("--log_dir", "logs"), ("--prefix",)])
def test_after_an_interrupt_one_line(
    environ: dict[str, str], script: Script, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    path = script(WAITING)
    running = Shown(environ, *N3, *flags, path, cwd=tmp_path)
    running.until(b"ready", 3)
    running.popen.send_signal(signal.SIGINT)
    shown = running.end()
    assert running.popen.returncode == -signal.SIGINT
    assert "Traceback" not in shown
    assert "KeyboardInterrupt" not in shown
    assert re.fullmatch(r"accel: interrupted; ranks 0-2 ended in \d\.\d s", shown.splitlines()[-1].lstrip("\r"))
    if flags == ("--log_dir", "logs"):
        logs = (tmp_path / "logs/latest").glob("attempt_0/*/stderr.log")
        assert [log.read_text().count("KeyboardInterrupt") for log in logs] == [1, 1, 1]


def test_after_an_interrupt_with_debug_all_is_shown(environ: dict[str, str], script: Script) -> None:
    running = Shown(environ, *N3, "--debug", script(WAITING))
    running.until(b"ready", 3)
    running.popen.send_signal(signal.SIGINT)
    assert running.end().count("KeyboardInterrupt\n") == 3


def test_who_was_killed_is_named(environ: dict[str, str], script: Script) -> None:
    path = script(ME + "rank == '1' and signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITING)
    running = Shown(environ, *N3, "--grace", "1", path)
    running.until(b"ready", 3)
    running.popen.terminate()
    assert re.search(r"accel: terminated by SIGTERM; ranks 0-2 ended in 1\.\d s, rank 1 killed\n$", running.end())


@pytest.mark.parametrize(
    ("more", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)]
)
def test_the_headline_is_bold_and_red(
    environ: dict[str, str], script: Script, more: dict[str, str], colored: bool
) -> None:
    path = script(ME + "rank == '1' and sys.exit('no end of a line')\ntime.sleep(60)\n")
    shown = Shown({**environ, **more}, "-q", *N3, path).end()
    headline = next(line for line in shown.splitlines() if "failed first" in line)
    assert (
        (headline[:7], headline[-4:]) == ("\x1b[1;31m", "\x1b[0m")
        if colored
        else headline.startswith("accel: rank 1")
    )


def test_a_report_begins_on_a_line_of_its_own(environ: dict[str, str], script: Script) -> None:
    path = script(ME + "sys.stderr.write('50%|##')\nsys.stderr.flush()\nos._exit(3)\n")
    shown = Shown({**environ, "NO_COLOR": "1"}, "-q", "--cpu", "--num_processes", "2", path).end()
    assert re.search(r"^accel: rank [01] \(", shown, re.MULTILINE)
