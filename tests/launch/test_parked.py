"""The process that keeps what was imported: ranks of later attempts can't tell, and it goes when it should."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import BIN, Run
from tests.launch.processes import Script, Start, alive, close, gone, marked, read_pids, until
from tests.launch.test_preload import TWO, as_module, as_script, assert_same, portraits
from tests.schedule import sampled

NAME = "accel-parked"
AGAIN = ("--restart_policy", "always", "--max_restarts", "2")
IMPORTED = "import os\nwith open({log!r}, 'a') as file: file.write('imported\\n')\nVALUE = {value}\n"
# Each rank prints its attempt, and what the module holds; the first attempts fail.
SCRIPT = """
import os, sys, time
import kept
attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
os.write(1, f"{attempt} {os.environ['RANK']} {kept.VALUE}\\n".encode())
if attempt < 2:
    if os.environ["RANK"] == "0":
        open(f"printed{attempt}", "w").close()
        time.sleep(60)
    while not os.path.exists(f"printed{attempt}"):
        time.sleep(0.01)
    exec(os.environ.get("MEANWHILE", ""))
    os.kill(os.getpid(), 9)
"""


def parked(launcher: int) -> list[psutil.Process]:
    """The parked processes of a launcher, which adopts them."""
    return [one for one in psutil.Process(launcher).children(recursive=True) if one.name() == NAME]


@pytest.fixture
def kept(script: Script, tmp_path: Path) -> Path:
    """A script whose module `kept` notes each import; the notes."""
    log = tmp_path / "imports"
    script(IMPORTED.format(log=str(log), value=1), "kept.py")
    past = time.time() - 60
    os.utime(tmp_path / "kept.py", (past, past))
    script(SCRIPT, "train.py")
    return log


def expected(values: tuple[int, int, int]) -> list[str]:
    return sorted(f"{attempt} {rank} {value}" for attempt, value in enumerate(values) for rank in range(2))


@pytest.mark.parametrize("shape", sampled([as_script, as_module], every=2))
def test_a_rank_of_a_later_attempt_cannot_tell(tmp_path: Path, environ: dict[str, str], shape: Any) -> None:
    words = shape(tmp_path)
    environ["AGAIN"] = "0"
    plain = portraits(tmp_path, environ, words, "--restart_policy", "always", "--max_restarts", "1")
    assert_same(
        plain,
        portraits(
            tmp_path,
            environ,
            words,
            "--restart_policy",
            "always",
            "--max_restarts",
            "1",
            "--preload",
            "numpy.random,multiprocessing,logging",
        ),
    )


def test_modules_are_imported_once_for_all_attempts(accelerate: Run, kept: Path) -> None:
    done = accelerate("launch", *TWO, *AGAIN, "--preload", "kept", "train.py")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == expected((1, 1, 1))
    assert kept.read_text() == "imported\n"
    assert "note" not in done.stderr


CHANGES = {
    "a file": "open('kept.py', 'a').write('VALUE = 2\\n')",
    "a file of the same length and time": "s = os.stat('kept.py'); t = open('kept.py').read().replace('VALUE = 1', 'VALUE = 2'); open('new', 'w').write(t); os.utime('new', ns=(s.st_atime_ns, s.st_mtime_ns)); os.replace('new', 'kept.py')",
    "a module that comes first": "os.mkdir('kept'); open('kept/__init__.py', 'w').write('VALUE = 2')",
    "a module that wasn't found": "open('optional.py', 'w').write('VALUE = 2')",
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_made_anew_where_a_file_has_changed(
    accelerate: Run, kept: Path, environ: dict[str, str], change: str
) -> None:
    module = kept.parent / "kept.py"
    module.write_text(f"{module.read_text()}try:\n    from optional import VALUE\nexcept ImportError:\n    pass\n")
    past = time.time() - 60
    os.utime(module, (past, past))
    meanwhile = f"if attempt == 0: {CHANGES[change]}"
    if "of the same length" in change:
        environ["PYTHONDONTWRITEBYTECODE"] = "1"  # by which Python itself recognizes a file
    done = accelerate(
        "launch", *TWO, *AGAIN, "--preload", "kept", "train.py", env={**environ, "MEANWHILE": meanwhile}
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == expected((1, 2, 2))
    assert done.stderr.count("has changed, so the modules are imported again") == 1


def test_a_file_that_is_written_during_the_import_is_imported_again(accelerate: Run, kept: Path) -> None:
    module = kept.parent / "kept.py"
    module.write_text(f"{module.read_text()}open(__file__, 'a').write('#')\n")
    done = accelerate("launch", *TWO, *AGAIN, "--preload", "kept", "train.py")
    assert sorted(done.stdout.splitlines()) == expected((1, 1, 1))
    assert kept.read_text() == "imported\n" * 3


def test_it_holds_nothing_of_an_attempt_and_runs_nothing(launched: Start, kept: Path, script: Script) -> None:
    path = script("import os, time\nos.write(1, b'%d\\n' % os.getpid())\ntime.sleep(60)")
    running = launched(*TWO, *AGAIN, "--preload", "kept,numpy", path)
    read_pids(running, 2)
    (process,) = parked(running.pid)
    assert until(lambda: process.name() == NAME)
    targets = [str(one.readlink()) for one in Path(f"/proc/{process.pid}/fd").iterdir()]
    (socket,) = {one for one in targets if one != "/dev/null"}
    assert socket.startswith("socket:")
    assert process.num_threads() == 1
    before = process.cpu_times()
    time.sleep(0.5)
    assert process.cpu_times() == before
    assert not process.net_connections("inet")
    running.terminate()
    assert running.wait(10) == -signal.SIGTERM
    assert gone([process.pid])


WAITS = """
import os, time
os.write(1, b"%d %d\\n" % (os.getpid(), os.getppid()))
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    if os.environ["RANK"] == "1":
        time.sleep(0.3)
        os.kill(os.getpid(), 9)
    time.sleep(60)
child = os.fork()
if child == 0:
    os.setsid()
    child = os.fork()
    if child:
        os._exit(0)
time.sleep(60)
"""


@pytest.fixture(params=["", "apart"])
def later(launched: Start, script: Script, environ: dict[str, str], request: pytest.FixtureRequest) -> Iterator[Any]:
    """A launch in its second attempt, whose ranks have children that left group and session."""
    words = [
        BIN / "accelerate",
        "launch",
        *TWO,
        "--restart_policy",
        "always",
        "--max_restarts",
        "1",
        "--preload",
        "colorsys",
        script(WAITS),
    ]
    if request.param:
        words = ["sh", "-c", 'sleep 60 & echo $! >&3; exec "$@"', "sh", *words]
        reader, writer = os.pipe()
    else:
        reader = writer = -1
    popen = subprocess.Popen(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        preexec_fn=(lambda: os.dup2(writer, 3)) if request.param else None,  # noqa: PLW1509
        pass_fds=(3,) if request.param else (),
    )
    service = int(os.read(reader, 20)) if request.param else 0
    read_pids(popen, 2)
    ranks = read_pids(popen, 2)
    time.sleep(0.2)
    yield popen, ranks
    if service:
        assert alive([service])
        os.kill(service, signal.SIGKILL)
        os.close(reader)
        os.close(writer)
    close(popen)


@pytest.mark.parametrize(
    "victim", sampled(["launcher", "guardian", "keeper", "parked", "launcher and guardian", "all"], every=5)
)
def test_whoever_is_killed_nothing_is_left(later: Any, mark: str, victim: str) -> None:
    popen, ranks = later
    guardian = psutil.Process(ranks[0]).parent()
    assert guardian is not None
    keeper = guardian.parent()
    assert keeper is not None
    assert (guardian.name(), keeper.name()) == ("accel-guardian", "accel-keeper")
    found = [psutil.Process(pid) for pid in marked(mark)]
    (process,) = [one for one in found if one.name() == NAME]
    launcher = psutil.Process(popen.pid)
    services = [one for one in found if one.name() == "sleep"]
    everything = [one.pid for one in found if one not in services]
    assert len(everything) >= 8
    victims = {
        "launcher": [launcher],
        "guardian": [guardian],
        "keeper": [keeper],
        "parked": [process],
        "launcher and guardian": [launcher, guardian],
        "all": [launcher, guardian, process],
    }[victim]
    for one in victims:
        with suppress(psutil.NoSuchProcess):  # one may have ended with another
            one.kill()
    if victim in ("keeper", "parked"):
        time.sleep(0.3)
        assert alive(ranks) == ranks
        popen.terminate()
    want = {"guardian": 137, "keeper": -signal.SIGTERM, "parked": -signal.SIGTERM}.get(victim, -signal.SIGKILL)
    assert popen.wait(20) == want
    assert gone(everything)


def test_signals_reach_the_ranks_of_a_later_attempt(later: Any) -> None:
    popen, ranks = later
    popen.send_signal(signal.SIGTSTP)
    assert until(lambda: all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in ranks))
    popen.send_signal(signal.SIGCONT)
    assert until(lambda: all(psutil.Process(pid).status() == psutil.STATUS_SLEEPING for pid in ranks))
    popen.send_signal(signal.SIGUSR1)
    assert popen.wait(20) == 128 + signal.SIGUSR1
    assert gone(ranks)


def test_a_process_that_was_killed_is_made_anew(accelerate: Run, kept: Path, environ: dict[str, str]) -> None:
    kill = (
        "import psutil\n"
        "for one in psutil.process_iter(['name', 'environ']):\n"  # what can't be read is None
        f"    if one.info['name'] == '{NAME}' and (one.info['environ'] or {{}}).get('MARK') == os.environ['MARK']:\n"
        "        one.kill()\n"
    )
    mark = f"parked-{os.getpid()}-{time.time_ns()}"
    done = accelerate(
        "launch", *TWO, *AGAIN, "--preload", "kept", "train.py", env={**environ, "MARK": mark, "MEANWHILE": kill}
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == expected((1, 1, 1))
    assert kept.read_text() == "imported\n" * 3


def test_a_system_that_forks_no_more_starts_ranks_plainly(accelerate: Run, kept: Path, script: Script) -> None:
    """The parked process forks a keeper, that a guardian, that a rank, and no more."""
    few = (
        "import os\nfork, calls, first = os.fork, [], os.getpid()\n"
        "def few():\n"
        "    if os.getpid() != first:\n        calls.append(1)\n"
        "    if len(calls) > 3:\n        raise BlockingIOError(11, 'not now')\n"
        "    return fork()\n"
        "os.fork = few\n"
    )
    script(few, "few.py")
    past = time.time() - 60
    os.utime(kept.parent / "few.py", (past, past))
    done = accelerate(
        "launch", "-q", *TWO, "--restart_policy", "always", "--max_restarts", "2", "--preload", "few,kept", "train.py"
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == expected((1, 1, 1))
    assert "not preloaded: the system starts no more processes: not now; each rank imports for itself" in done.stderr


def test_an_import_that_is_not_safe_parks_nothing(launched: Start, script: Script) -> None:
    script("kept = open(__file__)", "unsafe.py")
    path = script("import os, time\nos.write(1, b'%d\\n' % os.getpid())\ntime.sleep(60)")
    running = launched(*TWO, *AGAIN, "--preload", "unsafe", path)
    read_pids(running, 2)
    assert not parked(running.pid)
    running.terminate()
    running.wait(10)
