"""Which failures are followed by a restart: real failures, judged."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from accel_config.checking.restarts import read_policy
from accel_launch import Result, launch
from accel_launch.running.report.judging import OUT_OF_MEMORY
from accel_launch.running.restarting.backoff import certain, delay, surroundings
from accel_launch.running.restarting.cause import cause_of, steady
from accel_launch.running.restarting.judge import Attempt, Judge, Verdict
from accel_launch.running.restarting.progress import Progress, reached
from accel_launch.running.restarting.progress_files import LIMIT, ProgressFiles
from tests.conftest import Resolve, Run
from tests.fuzzing import fuzz
from tests.schedule import sampled

Script = Callable[[str], Path]
Fail = Callable[..., Result]
# One run fails in as many ways as there are ranks; each rank but the one asked for waits for its end.
WAYS = """\
import ctypes, os, random, sys, tempfile, time
own = sys.argv[1]
if os.environ["RANK"] != sys.argv[2]:
    time.sleep(60)
if own == "value":
    raise ValueError(f"bad {time.time()} {object()} {tempfile.mkdtemp()} {random.random():.3e}")
if own == "late":
    sys.stderr.write("Epoch 2:  12%|#  | 120/1000 [00:12<01:28, 9.9it/s]\\n")
    {}["key"]
if own == "crash":
    ctypes.string_at(0)
if own == "exit":
    sys.exit(3)
if own == "later":
    sys.exit(75)
if own == "usage":
    sys.exit(2)
if own == "import":
    import no_such_module
if own == "syntax":
    exec(compile("a b", "part.py", "exec"))
if own == "missing":
    open("data/not there.bin")
if own == "refused":
    import socket
    socket.create_connection(("127.0.0.1", 1), timeout=5)
if own == "memory":
    class OutOfMemoryError(RuntimeError): ...
    OutOfMemoryError.__module__ = "torch"
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
if own == "killed":
    os.kill(os.getpid(), 9)
"""


def failed(path: Path, way: str = "", rank: int = 1) -> Result:
    return launch(path, args=[way, rank], cpu=True, num_processes=2, grace=0.0, on_line=lambda _line: None)


@pytest.fixture(scope="module")
def fail(tmp_path_factory: pytest.TempPathFactory) -> Fail:
    """Fail in one way, once for all tests; ``HERE`` is the script."""
    path = tmp_path_factory.mktemp("fail") / "HERE"
    path.write_text(WAYS)

    @cache
    def once(way: str, rank: int = 1) -> Result:
        result = failed(path, way, rank)
        if result.failure is None:
            return result
        return result.replace(failure=result.failure.replace(where=result.failure.where.replace(str(path), "HERE")))

    return once


def after(judge: Judge, result: Result, *, age: float = 1.0, progress: Progress | None = None) -> Verdict:
    return judge.after(Attempt(0, 1000.0, 1000.0 + age, result, progress))


# What is said of the first failure, how long to wait then, and what is said of the second.
ANYWAY = "not started again; --restart_policy always starts it again all the same"
SAME = f"the same failure in 2 attempts, at HERE:6: {ANYWAY}"
FAILURES: dict[str, tuple[str, float, str]] = {
    "value": ("rank 1: ValueError: bad", 0.0, SAME),
    "exit": ("rank 1: exit status 3", 0.0, f"the same failure in 2 attempts, exit status 3: {ANYWAY}"),
    "usage": ("a usage error (exit status 2): not started again", 0.0, ""),
    "later": ("the script asks to be queued again (exit status 75): not started again", 0.0, ""),
    "import": ("an import that fails (ModuleNotFoundError), at HERE:19: not started again", 0.0, ""),
    "memory": ("the device is out of memory, as it would be again, at HERE:30: not started again", 0.0, ""),
    "refused": (
        "rank 1: ConnectionRefusedError: [Errno 111] Connection refused at HERE:26 (connection refused, which may pass)",
        1.0,
        "the same",
    ),
    "missing": (
        "rank 1: FileNotFoundError: [Errno 2] No such file or directory: 'data/not there.bin' at HERE:23 (the file may",
        10.0,
        f"the same failure in 2 attempts, at HERE:23: {ANYWAY}",
    ),
    "killed": (
        "rank 1: terminated by SIGKILL: sent by",
        0.0,
        f"the same failure in 2 attempts, SIGKILL: {ANYWAY}",
    ),
}


@pytest.mark.parametrize("way", sampled(FAILURES, every=3))
def test_a_real_failure_is_judged(fail: Fail, way: str) -> None:
    first, wait, second = FAILURES[way]
    judge = Judge("judge", 3)
    result = fail(way)
    verdict = after(judge, result)
    assert verdict.why.startswith(first)
    assert (verdict.again, verdict.delay) == (bool(second), wait)
    if not second:
        return
    assert cause_of(fail(way, 0)) == cause_of(result)  # on another rank, with other numbers
    verdict = after(judge, result)
    if second == "the same":
        assert (verdict.again, verdict.delay, verdict.why) == (True, 2.0, first)
    else:
        assert (verdict.again, verdict.why) == (False, second)


def test_progress_between(fail: Fail) -> None:
    """The same failure is another one if the run came further meanwhile, by its steps or by its age."""
    result = fail("late")
    steps = [Progress(step=step) for step in (100, 90, 150, 150)]
    judge = Judge("judge", 9)
    assert [after(judge, result, progress=found).again for found in steps[:2]] == [True, False]
    judge = Judge("judge", 9)
    told = [after(judge, result, progress=found).again for found in (steps[0], steps[2], steps[3])]
    assert told == [True, True, False]
    judge = Judge("judge", 9)
    assert [after(judge, result, age=age).again for age in (100, 200, 390, 450)] == [True, True, True, False]
    judge = Judge("judge", 9)  # an attempt that is slow to start isn't further
    assert [after(judge, result, age=age).again for age in (1, 8)] == [True, False]
    judge = Judge("judge", 9)  # nor one that ends before the first step
    assert [after(judge, result, age=age, progress=found).again for age, found in ((9, steps[0]), (99, None))] == [
        True,
        False,
    ]


def test_other_failures_between(fail: Fail) -> None:
    """What fails by turns fails as surely."""
    one, other = fail("value"), fail("exit")
    judge = Judge("judge", 9)
    assert [after(judge, result).again for result in (one, other, one)] == [True, True, False]
    killed = fail("killed")  # others may kill a run at any moment, the OOM killer does so at the same
    judge = Judge("judge", 9)
    assert [after(judge, killed, age=age).again for age in (3600, 1800, 900, 910)] == [True, True, True, False]
    assert killed.failure is not None
    memory = killed.replace(failure=killed.failure.replace(cause=f"terminated by SIGKILL: {OUT_OF_MEMORY}"))
    judge = Judge("judge", 9)
    assert [after(judge, memory, age=age).again for age in (3600, 1800)] == [True, False]


def test_policies(fail: Fail) -> None:
    usage, value, missing = (fail(way) for way in ("usage", "value", "missing"))
    judge = Judge("always", 3)
    assert [after(judge, result).again for result in (usage, value, value, value)] == [True, True, True, False]
    assert not after(Judge("judge", 0), value).again
    why = after(Judge("never-on:KeyError,ValueError", 3), value).why
    assert why == f"ValueError is in restart_policy never-on, at HERE:6: {ANYWAY}"
    assert not after(Judge("never-on OSError", 3), missing).again  # a kind of it
    assert after(Judge("never-on OSError", 3), value).again
    assert not after(Judge("always", 3), value.replace(signal=signal.SIGTERM)).again
    assert not after(Judge("always", 3), fail("later")).again
    judge = Judge("judge", 1)
    assert after(judge, value).again
    other = fail("exit")
    assert after(judge, other).why == "the only restart is used: not started again"


def test_passing_failures_use_all_restarts(fail: Fail) -> None:
    refused, value = (fail(way) for way in ("refused", "value"))
    judge = Judge("judge", 9)
    told = [after(judge, refused) for _attempt in range(10)]
    assert [one.delay for one in told] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 0]
    assert [one.again for one in told] == [True] * 9 + [False]
    judge = Judge("judge", 9)
    assert [after(judge, one).delay for one in (refused, refused, value, refused)] == [1, 2, 0, 1]
    assert delay(10**9) == 60


def test_text_alone_is_believed_for_a_while(fail: Fail) -> None:
    """A message can quote anything, and a number in the output can count something else than steps."""
    value = fail("value")
    assert value.failure is not None
    quoted = value.replace(failure=value.failure.replace(exception="RuntimeError: HTTP Error 500"))
    judge = Judge("judge", 99)
    told = [after(judge, quoted) for _attempt in range(7)]
    assert [one.delay for one in told] == [1, 2, 4, 8, 16, 32, 0]
    assert told[-1].why == f"the same failure in 7 attempts, at HERE:6: {ANYWAY}"
    judge = Judge("judge", 99)  # a line that numbers itself
    told = [after(judge, value, progress=Progress(step=at)) for at in range(20)]
    assert [one.again for one in told] == [True] * 7 + [False] * 13
    judge = Judge("judge", 99)
    for attempt in range(20):
        assert after(judge, value, progress=Progress(step=attempt, told=True)).again  # its own word
    for attempt in range(20, 40):
        assert after(judge, value, age=61, progress=Progress(step=attempt)).again  # no attempt is wasted at once


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("OSError: [Errno 98] Address already in use", True),
        ("ConnectionRefusedError: no", True),
        ("urllib.error.HTTPError: HTTP Error 503: Service Unavailable", True),
        ("torch.distributed.DistStoreError: Timed out after 301 seconds waiting for clients. 1/2", True),
        ("RuntimeError: HTTP Error 500", False),
        ("RuntimeError: [Errno 98] Address already in use", False),
        ("OSError: HTTP Error 500", False),
        ("ApiError: HTTP Error 500", False),
        ("bind: Address already in use", False),
    ],
)
def test_what_is_certain(said: str, expected: bool) -> None:
    assert surroundings(said)
    assert certain(said) == expected


def test_a_file_that_appears_ends_the_wait(tmp_path: Path, script: Script) -> None:
    path = tmp_path / "later.bin"
    result = failed(script(f"open({str(path)!r})"), "")
    verdict = after(Judge("judge", 3), result)
    assert (verdict.again, verdict.awaited, verdict.ready) == (True, str(path), False)
    path.touch()
    assert verdict.ready
    at_once = after(Judge("judge", 3), result)
    assert (at_once.again, at_once.delay, at_once.awaited) == (True, 0, "")
    assert [after(Judge("judge", most), result.replace()).delay for most in (1, 4, 9)] == [0, 0, 0]
    path.unlink()
    assert [after(Judge("judge", most), result).delay for most in (1, 4, 9)] == [10, 15, 60]
    judge = Judge("judge", 3)  # another file is another cause, also if only its number differs
    second = failed(script(f"open({str(path)!r} + '2')"), "")
    assert [after(judge, one).again for one in (result, second, second)] == [True, True, False]


def test_a_missing_module_is_not_tried_again(script: Script) -> None:
    path = script("import os, sys\nos.execv(sys.executable, [sys.executable, '-m', 'no_such_module'])\n")
    why = after(Judge("judge", 3), failed(path, "")).why
    assert why == f"a missing script or module: {ANYWAY}"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("OSError: [Errno 98] Address already in use", "address in use"),
        ("torch.distributed.DistNetworkError: The server socket has failed. name: EADDRINUSE", "address in use"),
        ("RuntimeError: Connection reset by peer", "connection lost"),
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "name not resolved"),
        ("urllib.error.URLError: <urlopen error [Errno 111] Connection refused>", "connection refused"),
        ("urllib.error.HTTPError: HTTP Error 503: Service Unavailable", "server failed"),
        ("requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: x", "server failed"),
        ("requests.exceptions.ReadTimeout: HTTPSConnectionPool(host='x', port=443): Read timed out.", "timed out"),
        ("httpx.ConnectError: [Errno 111] Connection refused", "connection refused"),
        ("botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint", "connection failed"),
        ("OSError: [Errno 5] Input/output error: 'x'", "file system failed"),
        ("OSError: [Errno 116] Stale file handle", "file system failed"),
        ("OSError: [Errno 28] No space left on device", "disk full"),
        ("TimeoutError", "timed out"),
        ("torch.distributed.DistStoreError: Timed out after 301 seconds waiting for clients. 1/2", "timed out"),
        ("bind: Address already in use", "address in use"),
        # What only quotes such words.
        ("ValueError: timeout must be positive, got 'Connection refused'", ""),
        ("TypeError: connect() got an unexpected keyword argument 'timeout'", ""),
        ("AssertionError: HTTP Error 503", ""),
        ("RuntimeError: Watchdog caught collective operation timeout: connection timed out", ""),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'x'", ""),
        ("OSError: [Errno 24] Too many open files", ""),
        ("RuntimeError: expected 503 rows", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_surroundings(said: str, words: str) -> None:
    assert surroundings(said) == words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\rtrain:  12%|#2   | 120/1000 [00:12<01:28,  9.90it/s]", Progress(step=120, margin=9.9)),
        ("Epoch 3:  12%|#2  | 120/1000 [00:12<01:28,  1.2s/it]", Progress(epoch=3, step=120)),
        ("{'loss': 0.52, 'grad_norm': 1.5, 'epoch': 1.03}\n", Progress(epoch=1.03)),
        ("{'loss': '0.52', 'epoch': '1.03'}\n", Progress(epoch=1.03)),
        ('{"step": 120, "epoch": 2}', Progress(epoch=2, step=120)),
        ("step 120 loss 0.5\nsaved\n", Progress(step=120)),
        ("Epoch 3/10\nloss 0.3\n", Progress(epoch=3)),
        ("iter: 12, loss: 3", Progress(step=12)),
        ("[rank1]: global_step=7\n", Progress(step=7)),
        ("\x1b[32mStep [12/100]\x1b[0m", Progress(step=12)),
        ("epoch 1 step 9\nepoch 2 step 1\n", Progress(epoch=2, step=1)),
        ("step 5\nTraceback (most recent call last):\n  step = 99\n  step 7\nValueError: step 8\n", Progress(step=5)),
        ("[rank0]: Traceback (most recent call last):\n[rank0]:   step = 99\n[rank0]: ValueError: step 8\n", None),
        ("num_epochs: 10, total optimization steps = 1000, batch size 32", None),
        ("", None),
    ],
)
def test_progress_in_output(text: str, found: Progress | None) -> None:
    assert reached([text]) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("7", Progress(step=7)),
        ("7/1000\n", Progress(step=7)),
        (" 7 / 1000 ", Progress(step=7)),
        ("7.0", Progress(step=7)),
        ("1\n2\n3\n", Progress(step=3)),
        ("epoch 3", Progress(epoch=3)),
        ("epoch 3, step 7", Progress(epoch=3, step=7)),
        ('{"epoch": 3, "global_step": 7}', Progress(epoch=3, step=7)),
        ("half", None),
    ],
)
def test_progress_in_a_file(text: str, found: Progress | None) -> None:
    assert reached([], [text]) == found


def test_progress_is_compared() -> None:
    assert Progress(epoch=2, step=1).beyond(Progress(epoch=1, step=900))
    assert not Progress(epoch=1, step=1).beyond(Progress(epoch=1, step=1))
    assert not Progress(step=105, margin=9.9).beyond(Progress(step=100))  # a bar may be a second old
    assert Progress(epoch=1.05).beyond(Progress(epoch=1.01))
    assert Progress(epoch=1).beyond(Progress(step=1)) is None
    assert reached(["step 10", "step 30", "nothing", "step 20"]) == Progress(step=30)
    assert reached(["step 10"], ["5", ""]) == Progress(step=5)  # what a script says counts
    assert reached([], ["epoch 3 step 120"]) == Progress(epoch=3, step=120)
    assert Progress(epoch=3, step=120).words == "epoch 3, step 120"


TELLING = (
    "import os\npath = os.environ['ACCELERATE_PROGRESS_FILE']\n"
    "with open(path + '.tmp', 'w') as file: file.write('12' + os.environ['RANK'])\nos.replace(path + '.tmp', path)\n"
)


def test_progress_files(tmp_path: Path, script: Script) -> None:
    """One for each rank, which may replace it by another, or the user's own; what isn't a file isn't read."""
    import subprocess
    import sys

    files = ProgressFiles(2, {})
    path = script(TELLING)
    for rank in (0, 1):
        environ = {**os.environ, **files.variables(rank), "RANK": str(rank)}
        subprocess.run([sys.executable, path], env=environ, check=True, timeout=30)
    assert [text for text, _at in files.contents()] == ["120", "121"]
    folder = Path(files.folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    files.close()
    assert not folder.exists()
    own = tmp_path / "progress"
    for make in (lambda: None, own.mkdir, own.rmdir, lambda: os.mkfifo(own), own.unlink, lambda: own.write_text("7")):
        make()
        files = ProgressFiles(2, {"ACCELERATE_PROGRESS_FILE": str(own)})
        assert files.variables(0) == {}
        assert [text for text, _at in files.contents()] == (["7"] if own.is_file() else [])
    own.write_text("step 7\n" * LIMIT + "step 8\n")
    ((text, at),) = ProgressFiles(2, {"ACCELERATE_PROGRESS_FILE": str(own)}).contents()
    assert len(text) == LIMIT
    assert reached([], [text]) == Progress(step=8)
    assert at == own.stat().st_mtime


def test_the_policy_is_typed_in_one_word_or_two(settings: Resolve, accelerate: Run, tmp_path: Path) -> None:
    assert read_policy(" Judge ") == ("judge", ())
    for text in ("never-on A,b.C", "never-on:A, b.C", "NEVER-ON=A,b.C,"):
        assert read_policy(text) == ("never-on", ("A", "b.C"))
    (tmp_path / "x.py").touch()
    for text, said in {
        "allways": "restart_policy allways (run.yaml:1) isn't a policy (judge, always, never-on:EXCEPTION,...). "
        "Did you mean 'always'?",
        "never-on": "restart_policy never-on (run.yaml:1) names no exception; write never-on:ValueError,KeyError",
        "never-on a b": "restart_policy never-on a b (run.yaml:1): 'a b' isn't the name of an exception; write "
        "never-on:ValueError,KeyError",
    }.items():
        (tmp_path / "run.yaml").write_text(f"restart_policy: {text}\n")
        done = accelerate("launch", "--cpu", "--config_file", "run.yaml", "--dry_run", "x.py")
        assert (done.returncode, done.stderr) == (2, f"accelerate launch: {said}\n")
    words = ("launch", "--cpu", "--num_processes", "2", "--max_restarts", "1", "--dry_run", "--restart_policy")
    for names, said in {
        "ValuError": "restart_policy never-on:ValuError (--restart_policy): ValuError isn't a built-in exception. Did you "
        "mean 'ValueError'?",
        "ValueError,OutOfMemoryError,HTTPError,torch.ValuError,SIGSEGV": "",
    }.items():
        notes = [
            line for line in accelerate(*words, f"never-on:{names}", "x.py").stdout.splitlines() if "note" in line
        ]
        assert notes == ([f"# note: {said}"] if said else [])
    done = accelerate("launch", "--cpu", "--num_processes", "2", "--restart_policy", "always", "--dry_run", "x.py")
    assert "restart_policy always (--restart_policy): no effect without --max_restarts" in done.stdout


# Any text.

PARTS = (
    *(
        "Error",
        ": ",
        "\n",
        "  File ",
        "Traceback (most recent call last)",
        "0x7f31e4d90170",
        "step",
        "epoch",
        "=",
        "'",
    ),
    *("[Errno 98]", "[Errno -99999]", " " * 40, "9" * 30, "1/2 [", "it/s", "/tmp/tmpab12cd", "deadbeef" * 20, "\r"),
    *("\x1b[31m", "\x00", "é", "No such file or directory: '", "connection refused", "(", "a" * 70, "1.", "-", "e"),
)


def _text(chance: random.Random) -> str:
    parts = (chance.choice(PARTS) if chance.random() < 0.9 else chr(chance.randrange(1, 0x3000)) for _ in range(400))
    return "".join(parts)[: chance.choice((10, 1000, 100_000))] * chance.choice((1, 1, 20))


def one_text(chance: random.Random) -> None:
    """Any text is judged at once, and equal ones alike; numbers make no difference."""
    text = _text(chance)
    began = time.process_time()
    words, steadied, found = surroundings(text), steady(text), reached([text], [text[:LIMIT]])
    assert time.process_time() - began < 0.2, json.dumps(text)
    assert (words, steadied, found) == (surroundings(text), steady(text), reached([text], [text[:LIMIT]]))
    assert not any("0" <= letter <= "9" for letter in steadied), json.dumps(text)
    assert found is None or (found.beyond(found) is not True and found.words)
    one = Progress(
        epoch=chance.choice((None, 1, 2.5)), step=chance.choice((None, 5, 7)), margin=chance.choice((0, 3))
    )
    other = Progress(epoch=chance.choice((None, 1, 2.5)), step=chance.choice((None, 5, 7)))
    assert not (one.beyond(other) and other.beyond(one))


@pytest.mark.fuzz
def test_any_text_is_judged() -> None:
    fuzz(one_text)


def test_some_texts_are_judged() -> None:
    for seed in range(20):
        one_text(random.Random(seed))
