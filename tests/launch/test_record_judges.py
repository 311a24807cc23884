"""An engine's own status doesn't excuse a rank: what the ranks' parents have recorded is what counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from accel_launch.engines.common.wrapping import PARENT
from accel_launch.running.engine_record import LIMIT, attempts_in, memory_file, read, running_in
from accel_launch.running.guardian import orphans
from tests.conftest import Run
from tests.launch.processes import TURNS, Script

# An engine of another package, which starts its ranks one after the other and ends with a status of its own.
ROUGH = """\
import shlex
from accel_launch import engines
from accel_launch.engines import Command, Engine, Plan

def make(context):
    words = shlex.join(engines.with_parent(context, engines.rank_command(context)))
    lines = [f"RANK={rank} LOCAL_RANK={rank} WORLD_SIZE=2 {words}" for rank in (0, 1)]
    return Plan("rough", (Command(("sh", "-c", context.host.environ["HOW"].format(*lines)), context.variables),), hosted=2)

ENGINE = Engine(make, honors=engines.RANKS)
"""


@pytest.fixture
def rough(environ: dict[str, str], tmp_path: Path) -> None:
    """The engine, installed."""
    site = tmp_path / "site"
    (site / "accel_rough-1.dist-info").mkdir(parents=True)
    (site / "accel_rough.py").write_text(ROUGH)
    (site / "accel_rough-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: accel-rough\nVersion: 1\n"
    )
    (site / "accel_rough-1.dist-info" / "entry_points.txt").write_text(
        "[accel_launch.engines]\nrough = accel_rough:ENGINE\n"
    )
    environ["PYTHONPATH"] = str(site)


FLAGS = ("--cpu", "--num_processes", "2", "--engine", "rough")
FAIL = "import os, sys\nsys.exit(7 if os.environ['RANK'] == '1' else 0)\n"
ONCE = (
    "import os, sys\nagain = os.path.exists('again' + os.environ['RANK'])\nopen('again' + os.environ['RANK'], 'w')\n"
    "sys.exit(0 if again or os.environ['RANK'] == '0' else 7)\n"
)


@pytest.mark.usefixtures("rough")
@pytest.mark.parametrize("how", ["{0}; {1}; exit 0", "{1}; {0}", "{0} & {1} & wait"])
def test_a_rank_that_failed_is_a_failure_whatever_its_engine_says(accelerate: Run, script: Script, how: str) -> None:
    done = accelerate("launch", *FLAGS, str(script(FAIL)), env={"HOW": how})
    assert done.returncode == 7
    assert "accel: rank 1 (local rank 1" in done.stderr
    assert "cause: exit status 7" in done.stderr


@pytest.mark.usefixtures("rough")
@pytest.mark.parametrize("how", ["{0}; {1}; {1}; exit 0", "{0}; {1} || {{ {0}; {1}; }}"])
def test_a_rank_that_its_engine_started_again_is_forgiven(accelerate: Run, script: Script, how: str) -> None:
    done = accelerate("launch", *FLAGS, str(script(ONCE)), env={"HOW": how})
    assert done.returncode == 0, done.stderr
    assert "(rank 1: exit status 7); the ranks were restarted" in done.stderr


@pytest.mark.usefixtures("rough")
def test_a_rank_whose_end_nobody_has_seen_is_a_failure(accelerate: Run, script: Script) -> None:
    path = script("import os, signal\nos.environ['RANK'] == '1' and os.kill(os.getppid(), signal.SIGKILL)\n")
    done = accelerate("launch", *FLAGS, str(path), env={"HOW": "{0}; {1}; exit 0"})
    assert done.returncode == 1
    assert "accel: rough: the end of rank 1 isn't known; its parent was killed" in done.stderr


WAITS = """\
import os, threading, time, types
lock = threading.Lock()
lock.acquire()
work = types.SimpleNamespace(wait=lock.acquire)  # which is C, as torch's are
if os.environ["RANK"] == "0":
    time.sleep(1000)
work.wait()
"""
KILLING = "{0} & a=$!; {1} & b=$!; trap 'kill $b; wait $b; kill -9 $a; wait $a; exit 143' TERM; wait"
"""As Open MPI does it: once the first rank has ended, the parent of the other one is killed."""


@pytest.mark.usefixtures("rough")
def test_the_end_of_a_rank_is_known_whose_parent_its_engine_killed(
    accelerate: Run, script: Script, tmp_path: Path
) -> None:
    path = script(WAITS)
    flags = ("--stall_after", "1.5", "--stall_action", "end", "--report", str(tmp_path / "report.json"))
    done = accelerate("launch", *FLAGS, *flags, str(path), env={"HOW": KILLING})
    assert done.returncode == 124, done.stderr
    assert "accel: rank 0 (local rank 0" in done.stderr
    assert "  terminated as a result: rank 1\n" in done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["stalls"][0]["groups"][0]["ranks"] == [0]
    assert report["failure"]["rank"] == 0
    assert [(rank["rank"], rank["signal"]) for rank in report["ranks"]] == [(1, "SIGTERM"), (0, "SIGKILL")]


@pytest.mark.usefixtures("rough")
def test_ranks_that_an_engine_kills_after_a_failure_are_told(accelerate: Run, script: Script) -> None:
    path = script(
        f"{TURNS}if os.environ['RANK'] == '0':\n    here('up')\n    time.sleep(60)\nannounced('up')\nraise SystemExit(7)\n"
    )
    done = accelerate("launch", *FLAGS, str(path), env={"HOW": "{0} & a=$!; {1}; kill -9 $a; wait $a; exit 1"})
    assert done.returncode == 7
    assert "accel: rank 1 (local rank 1" in done.stderr
    assert "  terminated as a result: rank 0\n" in done.stderr


@pytest.mark.parametrize(
    ("lines", "attempts", "running"),
    [
        # One rank is started again; what the other has done counts for both attempts.
        ("s 0 0 5 4\ns 1 1 6 4\ne 0 0 5 0\ne 1 1 6 256\ns 1 1 8 7\ne 1 1 8 0\n", [[0, 1], [0, 1]], []),
        # All are.
        ("s 0 0 5 4\ns 1 1 6 4\ne 1 1 6 256\ne 0 0 5 15\ns 0 0 8 7\ns 1 1 9 7\ne 0 0 8 0\n", [[1, 0], [0]], [1]),
        # The parent of one was killed with it before.
        ("s 0 0 5 4\ns 1 1 6 4\ne 1 1 6 256\ns 0 0 8 7\ns 1 1 9 7\ne 0 0 8 0\ne 1 1 9 0\n", [[1], [0, 1]], []),
    ],
)
def test_attempts_of_an_engine_that_does_not_number_them(
    lines: str, attempts: list[list[int]], running: list[int]
) -> None:
    record = "".join(
        f"started{line[1:]} -\n" if line.startswith("s") else f"ended{line[1:]} 1.0\n" for line in lines.splitlines()
    )
    assert [[ending.rank for ending in attempt] for attempt in attempts_in(record)] == attempts
    assert sorted(rank for rank, _parent in running_in(record).values()) == running


@pytest.mark.exhaustive
def test_a_record_longer_than_a_mebibyte_is_read_to_its_end() -> None:
    fd = memory_file("accel-record")
    assert fd is not None
    os.write(fd, b"started 0 0 5 4 0\nended 0 0 5 256 1.0\n" * 60_000 + b"started 1 1 7 4 99\nended 1 1 7 512 2.0\n")
    assert attempts_in(read(fd, LIMIT))[-1][0].status == 2
    os.close(fd)


KILLED = """\
import os, sys
sys.path.insert(0, sys.argv[1])
import parent
child = os.fork()
if child == 0:
    os._exit(3)
lines = parent.Lines(sys.argv[2], "4 0", "-")
lines.started(child)
os.waitpid = lambda *_: os.kill(os.getpid(), 9)
parent.Program(child, lines, None).wait()
"""


def test_a_rank_s_end_is_recorded_before_it_is_collected() -> None:
    """An engine that kills the parent meanwhile loses nothing: whoever isn't collected is the guardian's to collect."""
    fd = memory_file("accel-record")
    record = f"/proc/{os.getpid()}/fd/{fd}"
    done = subprocess.run([sys.executable, "-c", KILLED, Path(PARENT).parent, record], check=False, timeout=20)
    assert done.returncode == -signal.SIGKILL
    assert [(ending.rank, ending.status) for ending in attempts_in(read(fd, LIMIT))[-1]] == [(4, 3)]


@pytest.mark.parametrize(
    ("lines", "parent_lives", "decided", "recorded"),
    [
        ("", False, True, [(2, 137)]),
        ("", True, True, []),  # as below a tool that has ended: the parent will record it itself
        ("", False, False, []),
        ("started 0 0 5 4 -\nended 0 0 5 256 1.0\n", False, False, [(0, 1), (2, 137)]),
    ],
)
def test_whose_end_the_guardian_records(
    lines: str, parent_lives: bool, decided: bool, recorded: list[tuple[int, int]]
) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    fd = memory_file("accel-record")
    assert fd is not None
    os.write(fd, f"{lines}started 2 1 77 {os.getpid() if parent_lives else gone.pid} -\n".encode())
    orphans.note(fd, 77, signal.SIGKILL, decided=decided)
    orphans.note(fd, 78, signal.SIGKILL, decided=decided)
    assert [(ending.rank, ending.status) for ending in attempts_in(read(fd, LIMIT))[-1]] == recorded
    os.close(fd)
