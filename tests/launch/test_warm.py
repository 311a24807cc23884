"""The same launch again: it forks from the process that the last one left, which goes when it should."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from accel_launch.ranks import FORK_SERVER
from accel_launch.running.guardian.preloading import warm
from tests.conftest import BIN, Run, lines, needs_torch
from tests.launch.processes import PAUSE, Script, alive, gone, read_pids, until
from tests.launch.test_preload import PORTRAIT, TWO, assert_same, portraits

KEEP = ("--preload", "kept", "--keep_warm", "5m")
KEPT = "import os\nwith open({log!r}, 'a') as file: file.write('imported\\n')\nVALUE = 1\n"
SCRIPT = (
    "import os, kept\nprint(os.environ['RANK'], kept.VALUE, os.getcwd())\n"
    "assert open('/proc/self/oom_score_adj').read() != '1000\\n'\n"
)
Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def log(script: Script, tmp_path: Path) -> Path:
    """A script whose module `kept` notes each import; the notes."""
    script(KEPT.format(log=str(tmp_path / "imports")), "kept.py")
    old(tmp_path / "kept.py")
    script(SCRIPT, "train.py")
    return tmp_path / "imports"


def old(path: Path) -> None:
    past = time.time() - 60
    os.utime(path, (past, past))


@pytest.fixture(autouse=True)
def cleared(accelerate: Run) -> Iterator[None]:
    yield
    accelerate("stop", "--warm")


@pytest.fixture
def launch(environ: dict[str, str], tmp_path: Path) -> Launch:
    """Launch, and print to pipes."""

    def run(
        *words: object, env: dict[str, str] | None = None, cwd: Path | None = None, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "accelerate", "launch", *TWO, *map(str, words)],
            env={**environ, **(env or {})},
            text=True,
            capture_output=True,
            timeout=60,
            cwd=cwd or tmp_path,
            **how,
        )

    return run


def waiting(environ: dict[str, str]) -> list[psutil.Process]:
    return [psutil.Process(one.pid) for one in warm.waiting(environ)]


def imports(log: Path) -> int:
    return len(log.read_text().splitlines())


def test_the_same_launch_imports_nothing_and_reads_the_script_anew(
    launch: Launch, log: Path, script: Script, environ: dict[str, str], tmp_path: Path
) -> None:
    for text in ("first", "second", "third"):
        script(f"{SCRIPT}print({text!r})\n", "train.py")
        done = launch(*KEEP, "train.py")
        assert done.returncode == 0, done.stderr
        assert lines(done.stdout) == [f"0 1 {tmp_path}", f"1 1 {tmp_path}", text, text]
        assert "note" not in done.stderr
        assert len(waiting(environ)) == 1
    assert imports(log) == 1


def targets(pid: int) -> list[str]:
    try:
        return [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
    except FileNotFoundError:  # one was just closed
        return []


def test_it_holds_nothing_and_only_its_user_reaches_it(
    launch: Launch, log: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    assert launch(*KEEP, "train.py", env={"API_TOKEN": "hunter2"}).returncode == 0
    assert log.exists()
    (process,) = waiting(environ)
    # It may not have let go of those who have asked it something.
    assert until(lambda: len({one for one in targets(process.pid) if one != "/dev/null"}) == 1)
    assert max(targets(process.pid)).startswith("socket:")
    assert process.cwd() == "/"
    assert os.getsid(process.pid) == process.pid
    assert process.num_threads() == 1
    assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"
    assert not process.net_connections("inet")
    assert process.username() == psutil.Process().username()
    folder = Path(warm.home(environ))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (entry,) = folder.iterdir()
    assert stat.S_ISSOCK(entry.stat().st_mode)  # no file, so nothing of the environment
    for one in Path(environ["XDG_STATE_HOME"]).rglob("*"):  # the record of the run
        assert not one.is_file() or "hunter2" not in one.read_text()
    folder.chmod(0o755)
    assert not warm.waiting(environ)
    done = launch(*KEEP, "train.py")
    assert "nothing is kept warm" in done.stderr
    folder.chmod(0o700)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another user")
def test_another_user_is_refused_even_where_the_folder_is_open(
    launch: Launch, log: Path, environ: dict[str, str]
) -> None:
    assert launch(*KEEP, "train.py").returncode == 0
    assert log.exists()
    folder = Path(warm.home(environ))
    (entry,) = folder.iterdir()
    entry.chmod(0o777)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        where = os.open(folder, os.O_PATH)
        folder.chmod(0o777)
        pid = os.fork()
        if pid == 0:
            try:
                os.setuid(65534)
                client.connect(f"/proc/self/fd/{where}/{entry.name}")
                client.send(b"stop")
                os._exit(1 if client.recv(100) else 0)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (0, 2)
        os.close(where)
    folder.chmod(0o700)
    assert len(waiting(environ)) == 1


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def pin() -> None:
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])


@pytest.mark.exhaustive
def test_a_launch_that_differs_in_anything_starts_afresh(
    launch: Launch, log: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "new").mkdir()
    resource.setrlimit(resource.RLIMIT_CORE, (1, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    assert launch(*KEEP, "train.py").returncode == 0
    others: list[Callable[[], Any]] = [
        lambda: launch(*KEEP, "train.py", env={"NEW": "1"}),
        lambda: launch(*KEEP, "train.py", "argument"),
        lambda: launch(*KEEP, "--grace", "20", "train.py"),
        lambda: launch(*KEEP, tmp_path / "train.py", cwd=tmp_path / "below"),
        lambda: launch(*KEEP, "train.py", umask=0o027),
        lambda: launch(*KEEP, "train.py", preexec_fn=limit),
        lambda: launch(*KEEP, "train.py", preexec_fn=pin),
        lambda: launch(*KEEP, "train.py", preexec_fn=lambda: os.nice(1)),
        lambda: launch(*KEEP, "train.py", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)),
    ]
    if len(os.sched_getaffinity(0)) == 1:
        del others[6]
    for count, other in enumerate(others, 2):
        done = other()
        assert done.returncode == 0, done.stderr
        assert imports(log) == count
        if count % (warm.MOST - 1) == 0:  # which makes it one of the newest again
            assert launch(*KEEP, "train.py").returncode == 0
            assert imports(log) == count
    assert len(waiting(environ)) == warm.MOST
    assert launch(*KEEP, "train.py").returncode == 0
    assert imports(log) == len(others) + 1
    # The folder of the same name is another one.
    shutil.copytree(tmp_path / "below", tmp_path / "new", dirs_exist_ok=True)
    (tmp_path / "below").rename(tmp_path / "gone")
    (tmp_path / "new").rename(tmp_path / "below")
    assert launch(*KEEP, tmp_path / "train.py", cwd=tmp_path / "below").returncode == 0
    assert imports(log) == len(others) + 2


@pytest.mark.parametrize("change", ["a file", "a module that comes first", "gone"])
def test_a_file_that_changes_drops_it(
    launch: Launch, log: Path, environ: dict[str, str], tmp_path: Path, change: str
) -> None:
    assert launch(*KEEP, "train.py").returncode == 0
    (before,) = waiting(environ)
    changed = KEPT.format(log=str(log)).replace("VALUE = 1", "VALUE = 22")
    if change == "gone":
        before.kill()
    elif change == "a file":
        (tmp_path / "kept.py").write_text(changed)
    else:
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / "__init__.py").write_text(changed)
    done = launch(*KEEP, "train.py")
    value = 1 if change == "gone" else 22
    assert lines(done.stdout) == [f"{rank} {value} {tmp_path}" for rank in range(2)]
    assert imports(log) == 2
    assert ("has changed, so the modules are imported again" in done.stderr) == (change != "gone")
    assert gone([before.pid])


@pytest.mark.exhaustive
def test_it_ends_after_its_time_and_when_it_is_stopped(
    launch: Launch, accelerate: Run, log: Path, environ: dict[str, str]
) -> None:
    assert launch("--preload", "kept", "--keep_warm", "1s", "train.py").returncode == 0
    assert log.exists()
    (process,) = waiting(environ)
    assert gone([process.pid], 10)
    assert launch(*KEEP, "train.py").returncode == 0
    (process,) = waiting(environ)
    shown = accelerate("ps", "--warm").stdout
    assert shown.startswith(f"warm process (pid {process.pid}): ")
    assert re.fullmatch(
        r"warm process \(pid \d+\): train.py, 2 ranks, kept imported \d+ s ago, \d+ MB, ends in [45] min\n", shown
    )
    assert accelerate("stop").returncode == 2
    assert accelerate("stop", "--warm").stdout == f"stopped warm process (pid {process.pid})\n"
    assert gone([process.pid])
    assert accelerate("stop", "--warm").stdout == "no process is kept warm\n"
    assert not list(Path(warm.home(environ)).iterdir())


@pytest.mark.exhaustive
def test_the_oldest_ends_where_there_are_many(launch: Launch, log: Path, environ: dict[str, str]) -> None:
    """A sweep leaves one for each of its commands, and ranks of a run that goes on are no concern of it."""
    found: list[int] = []
    for number in range(warm.MOST + 2):
        assert launch(*KEEP, "train.py", number).returncode == 0
        (new,) = {one.pid for one in waiting(environ)} - set(found)
        found.append(new)
    assert sorted(one.pid for one in waiting(environ)) == sorted(found[-warm.MOST :])
    assert gone(found[: -warm.MOST])
    assert imports(log) == warm.MOST + 2


@pytest.mark.exhaustive
def test_silent_ones_hold_nobody_up_for_long(
    launch: Launch, log: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "PATIENCE", 1.0)
    assert launch(*KEEP, "train.py").returncode == 0
    (process,) = waiting(environ)
    folder = Path(warm.home(environ))
    silent: list[socket.socket] = []
    for number in range(6):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        where = os.open(folder, os.O_PATH)
        one.bind(f"/proc/self/fd/{where}/1-{number}")
        os.close(where)
        one.listen(8)
        silent.append(one)
    began = time.monotonic()
    assert [one.pid for one in waiting(environ)] == [process.pid]
    assert time.monotonic() - began < 3 * warm.PATIENCE  # a time for each without the limit
    for one in silent:
        one.close()
    gone_one = socket.socket(
        socket.AF_UNIX, socket.SOCK_SEQPACKET
    )  # of a launcher that has ended before it handed it on
    where = os.open(folder, os.O_PATH)
    gone_one.bind(f"/proc/self/fd/{where}/{2**22 + 1}-0")
    os.close(where)
    os.utime(folder / f"{2**22 + 1}-0", (2e9, 2e9))  # by a clock that was set since
    gone_one.close()
    assert len(waiting(environ)) == 1
    assert not (folder / f"{2**22 + 1}-0").exists()
    assert imports(log) == 1


FILES = """\
import os, sys, time
sys.path.insert(0, {here!r})
import freshness
clock = time.time_ns
files = freshness.Files()
{meanwhile}
import kept
files.close()
print(files.changed())
"""


@pytest.mark.parametrize(
    ("meanwhile", "said"),
    [
        ("", ""),
        ("os.utime('kept.py')", "kept.py has changed"),
        ("os.utime('kept.py', (clock() / 1e9 + 9e4,) * 2)", ""),  # an archive's files can be of tomorrow
        ("time.time_ns = lambda: clock() - 10**10", "the clock has changed"),
        ("time.time_ns = lambda: clock() + 10**10", "the clock has changed"),
    ],
)
def test_what_was_written_during_an_import(log: Path, tmp_path: Path, meanwhile: str, said: str) -> None:
    code = FILES.format(here=FORK_SERVER, meanwhile=meanwhile)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip().endswith(said), done.stderr
    assert bool(done.stdout.strip()) == bool(said)
    assert log.exists()


MEMORY = "MemTotal: 1000 kB\nMemFree: 9 kB\nMemAvailable: {available} kB\n"
PRESSURE = "some avg10=50.00 avg60=0.00 avg300=0.00 total=5\nfull avg10={full} avg60=0.00 avg300=0.00 total=5\n"


def test_scarce_memory_is_recognized(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {FORK_SERVER!r}); import warmth; print(warmth.pressed(sys.argv[1]))"

    def pressed() -> str:
        return subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True).stdout.strip()

    (tmp_path / "pressure").mkdir()
    for available, full, expected in ((500, 0, "False"), (99, 0, "True"), (500, 12.5, "True")):
        (tmp_path / "meminfo").write_text(MEMORY.format(available=available))
        (tmp_path / "pressure" / "memory").write_text(PRESSURE.format(full=full))
        assert pressed() == expected
    shutil.rmtree(tmp_path / "pressure")
    assert pressed() == "False"


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_it_ends_where_memory_is_scarce(log: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """The kernel's file is covered by one of ours."""
    cover = tmp_path / "meminfo"
    cover.write_text(MEMORY.format(available=900))
    mounted = f'mount --bind {cover} /proc/meminfo && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", mounted, "sh", BIN / "accelerate", "launch", *TWO, *KEEP, "train.py"]
    done = subprocess.run(words, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    if "mount:" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert log.exists()
    (process,) = waiting(environ)
    with cover.open("r+") as file:
        file.write(MEMORY.format(available="001"))
    assert gone([process.pid], 10)


def test_two_launches_at_once_are_each_themselves(
    launch: Launch, log: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "train.py"
    path.write_text(f"{SCRIPT}import time\ntime.sleep(0.5)\n")
    assert launch(*KEEP, "train.py").returncode == 0
    words = [BIN / "accelerate", "launch", *TWO, *KEEP, "train.py"]
    running = [
        subprocess.Popen(words, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for one in running:
        out, err = one.communicate(timeout=60)
        assert (one.returncode, lines(out)) == (0, [f"{rank} 1 {tmp_path}" for rank in range(2)]), err
    assert imports(log) == 3
    assert len(waiting(environ)) == 3


SLEEPS = "import os, subprocess, time\nos.write(1, b'%d\\n' % os.getpid())\n" + PAUSE


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_its_ranks_are_the_runs_own(
    launch: Launch, log: Path, environ: dict[str, str], script: Script, tmp_path: Path, number: int
) -> None:
    assert launch(*KEEP, "train.py").returncode == 0
    (process,) = waiting(environ)
    script(SLEEPS, "train.py")
    words = [BIN / "accelerate", "launch", *TWO, *KEEP, "train.py"]
    with subprocess.Popen(
        words, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        ranks = read_pids(running, 2)
        assert imports(log) == 1
        assert not waiting(environ)
        guardian = psutil.Process(ranks[0]).parent()
        assert guardian is not None
        assert {psutil.Process(pid).ppid() for pid in ranks} == {guardian.pid} == {os.getsid(pid) for pid in ranks}
        running.send_signal(number)
        assert running.wait(20) == -number
    assert gone([*ranks, guardian.pid])
    if number == signal.SIGKILL:  # it belonged to the launcher
        assert gone([process.pid])
    else:
        assert [one.pid for one in waiting(environ)] == [process.pid]


OPEN = """
import os

def there(fd):
    try:
        return bool(os.fstat(fd))
    except OSError:
        return False

print([(fd, os.pread(fd, 9, 0)) for fd in range(3, 300) if there(fd)])
"""


@pytest.mark.parametrize("numbers", [(7,), (3, 4, 5, 6, 7, 8, 9)])
def test_open_files_reach_ranks_and_are_never_kept(
    log: Path, environ: dict[str, str], script: Script, tmp_path: Path, numbers: tuple[int, ...]
) -> None:
    """A lock that the caller holds is passed on as make and flock do, at numbers that others of the process have too."""
    script(OPEN, "train.py")
    lock = tmp_path / "lock"
    words = [BIN / "accelerate", "launch", *TWO, *KEEP, "train.py"]
    for attempt in range(3):
        lock.write_text(f"text {attempt}")
        opened = " ".join(f"{number}<{lock}" for number in numbers)
        code = f'exec {opened}; flock -n {numbers[-1]} && exec "$@"'
        done = subprocess.run(
            ["sh", "-c", code, "sh", *words], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{[(number, f'text {attempt}'.encode()) for number in numbers]}\n" * 2
        assert len(waiting(environ)) == 1
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert imports(log) == 1


def test_a_launch_within_a_run_does_not_hold_it_up(
    launch: Launch, log: Path, script: Script, environ: dict[str, str]
) -> None:
    """The outer guardian takes it for what it is: a process that may stay."""
    inner = f"if os.environ['RANK'] == '0':\n    del os.environ['RANK']\n    subprocess.run([{str(BIN / 'accelerate')!r}, 'launch', *{[*TWO, *KEEP]!r}, 'train.py'], check=True)\n"
    script("import os, subprocess\n" + inner, "outer.py")
    started = time.monotonic()
    done = launch("--grace", "20", "outer.py")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 15
    assert imports(log) == 1
    assert len(waiting(environ)) == 1


@pytest.mark.exhaustive
def test_a_rank_of_the_same_launch_again_cannot_tell(tmp_path: Path, environ: dict[str, str], log: Path) -> None:
    shutil.copy(PORTRAIT, tmp_path / "portrait.py")
    words = ["portrait.py", "a b", "-x"]
    plain = portraits(tmp_path, environ, words)
    flags = ("--preload", "kept,numpy.random,multiprocessing,logging", "--keep_warm", "5m")
    first = portraits(tmp_path, environ, words, *flags)
    (process,) = waiting(environ)
    again = portraits(tmp_path, environ, words, *flags)
    assert imports(log) == 1
    assert [one.pid for one in waiting(environ)] == [process.pid]
    assert_same(plain, first)
    assert_same(plain, again)
    assert not {str(n) for _whole, drawn in first for n in drawn if n} & {
        str(n) for _whole, drawn in again for n in drawn if n
    }


def test_without_modules_it_has_no_effect(accelerate: Run, script: Script) -> None:
    shown = accelerate("launch", *TWO, "--keep_warm", "10m", "--dry_run", script("pass")).stdout
    assert "# note: keep_warm 10m (--keep_warm) has no effect without --preload, which names what to keep\n" in shown


@pytest.mark.parametrize("word", ["10", "10m", "1h30m", "1.5h", "45s"])
def test_times_that_are_read(accelerate: Run, script: Script, word: str) -> None:
    shown = accelerate("launch", *TWO, "--keep_warm", word, "--explain", script("pass")).stdout
    assert word in shown


@pytest.mark.parametrize("word", ["m", "10x", "1m1h", "-5", "inf", "10m5x", ""])
def test_times_that_are_refused(accelerate: Run, script: Script, word: str) -> None:
    done = accelerate("launch", *TWO, "--keep_warm", word, script("pass"))
    assert done.returncode == 2
    assert "keep_warm must be seconds, or a time such as 10m or 1h30m" in done.stderr


@needs_torch
@pytest.mark.serial
@pytest.mark.exhaustive
def test_torch_is_there_at_once(launch: Launch, script: Script, environ: dict[str, str]) -> None:
    path = script("import time, torch\nprint(time.monotonic(), flush=True)")

    def seconds(*flags: str) -> float:
        began = time.monotonic()
        done = launch(*flags, path)
        assert done.returncode == 0, done.stderr
        return max(map(float, done.stdout.split())) - began

    flags = ("--preload", "torch", "--keep_warm", "5m")
    seconds(*flags)
    again, plain = seconds(*flags), seconds()
    assert again < plain / 4
    assert len(alive([one.pid for one in waiting(environ)])) == 1
    assert until(lambda: True)
