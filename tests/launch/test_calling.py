"""`launch` from Python: scripts and functions, what they return and raise, time limits, threads, interrupts."""

from __future__ import annotations

import json
import linecache
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from accel_config import AccelError, SettingError
from accel_config.showing.installing import command
from accel_launch import Event, LaunchError, LaunchTimeout, Line, Plan, launch, report, run
from tests.launch.processes import Script, gone, marked, until
from tests.schedule import sampled

pytestmark = pytest.mark.usefixtures("bare")
CPU: dict[str, Any] = {"cpu": True, "num_processes": 2}


@pytest.fixture
def bare(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Launch as from a shell without variables or a config file of ours."""
    for name in {*os.environ} - {*environ}:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


# Functions of this module, which the ranks import by name.


def rank_and(first: int, *, second: int = 0) -> tuple[int, int]:
    return int(os.environ.get("RANK", "0")), first + second


def fails_on_rank_1() -> None:
    if os.environ["RANK"] == "1":
        raise LookupError("no such column")
    time.sleep(60)


class Picky(Exception):
    """It can be pickled, and not made again from that."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


def picky() -> None:
    raise Picky(1, 2)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leaves(status: object) -> int:
    if os.environ["RANK"] == "1":
        sys.exit(status)  # pyright: ignore[reportArgumentType]
    return 5


def unsendable() -> object:
    return threading.Lock()


def sleeps() -> None:
    time.sleep(60)


def test_a_script_in_one_call(script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    path = script("import os, sys\nprint(os.environ['RANK'], *sys.argv[1:])")
    result = launch(path, args=["--lr", 0.1], **CPU)
    assert (result.status, result.failure) == (0, None)
    assert sorted(capfd.readouterr().out.splitlines()) == ["0 --lr 0.1", "1 --lr 0.1"]


def test_a_failing_script_is_a_result(script: Script) -> None:
    result = launch(script("import sys; sys.exit(7)"), **CPU)
    assert result.status == 7
    assert result.failure is not None


def test_lines_and_events_come_in_the_calling_thread_and_nothing_is_shown(
    script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    path = script(
        "import os, sys, time\nprint('caf\u00e9', end='')\ntime.sleep(0.3)\nprint('!')\n"
        "print('to stderr', file=sys.stderr)\nos.write(1, b'no end')"
    )
    seen: list[tuple[threading.Thread, Line | Event]] = []

    def take(one: Line | Event) -> None:
        seen.append((threading.current_thread(), one))

    assert launch(path, on_line=take, on_event=take, **CPU).status == 0
    assert {thread for thread, _one in seen} == {threading.current_thread()}
    for rank in (0, 1):
        lines = [(one.stream, one.text) for _thread, one in seen if isinstance(one, Line) and one.rank == rank]
        assert sorted(lines) == [("stderr", "to stderr"), ("stdout", "caf\u00e9!"), ("stdout", "no end")]
        kinds = [one.kind for _thread, one in seen if isinstance(one, Event) and one.rank == rank]
        assert kinds == ["started", "ended"]
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")


@pytest.mark.parametrize("ranks", sampled([2, 1], every=2))
def test_lines_come_as_they_are_printed(script: Script, ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    came: list[float] = []
    path = script("import time\nprint('first')\ntime.sleep(2)")
    launch(path, on_line=lambda _line: came.append(time.monotonic()), cpu=True, num_processes=ranks)
    assert time.monotonic() - came[0] > 1


@pytest.mark.exhaustive
def test_a_slow_taker_of_many_lines_gets_all(script: Script) -> None:
    taken: dict[int, list[str]] = {0: [], 1: []}

    def take(line: Line) -> None:
        taken[line.rank].append(line.text)
        if len(taken[line.rank]) % 5000 == 0:
            time.sleep(0.2)

    result = launch(script("for n in range(30000): print(n, 'x' * 50)"), on_line=take, **CPU)
    assert result.status == 0
    assert taken[0] == taken[1] == [f"{n} {'x' * 50}" for n in range(30000)]


def test_a_line_is_what_a_line_feed_or_a_return_ends(script: Script) -> None:
    lines: list[Line] = []
    path = script(r"import os; os.write(1, 'a\u2028b\x0cc\x85d\n50%\r100%\r\n\nend'.encode())")
    assert launch(path, on_line=lines.append, cpu=True, num_processes=1).status == 0
    assert [line.text for line in lines] == ["a\u2028b\x0cc\x85d", "50%", "100%", "", "end"]


def test_a_timeout_ends_a_script_with_124(script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    pids: list[int] = []
    started = time.monotonic()
    path = script("import time\ndef rest():\n    time.sleep(60)\nrest()\n")
    result = launch(path, timeout=2, on_event=lambda e: pids.append(e.pid), **CPU)
    assert (result.status, result.failure, report(result)) == (124, None, "")
    (seen,) = result.stacks
    assert (seen["why"], seen["groups"][0]["doing"]) == ("timeout", "script1.py:3 rest > sleep")
    shown = "accel: what the ranks did when the run had taken too long:\n  2 of 2 ranks (0-1): script1.py:3 rest > sleep\n"
    assert capfd.readouterr().err.startswith(shown)
    assert result.notes == ("the run was ended after 2 s, its timeout",)
    assert time.monotonic() - started < 20
    assert gone(pids, 0)


@pytest.mark.parametrize("timeout", [-1, 0, 0.0, float("nan"), float("inf"), 10**400, "x", "3", True, [1]])
def test_a_timeout_that_is_none_is_refused_before_anything_starts(script: Script, timeout: Any) -> None:
    kind = ValueError if type(timeout) in (int, float) else TypeError
    started: list[Event] = []
    for target in (script(""), abs):
        with pytest.raises(kind, match=r"timeout must be a .*number of seconds"):
            launch(target, timeout=timeout, on_event=started.append, **CPU)
    with pytest.raises(kind, match="timeout must be a"):
        run(Plan("local", ()), timeout=timeout)
    assert not started


@pytest.mark.parametrize("seconds", [0.001, 0.01, 0.1, 0.3])
def test_a_timeout_before_the_launcher_process_is_ready(script: Script, seconds: float) -> None:
    result = launch(script("import time; time.sleep(60)"), timeout=seconds, **CPU)
    assert (result.status, result.failure) == (124, None)
    assert result.notes[-1] == f"the run was ended after {seconds:g} s, its timeout"
    with pytest.raises(LaunchTimeout, match="its timeout"):
        launch(time.sleep, args=[60], timeout=seconds, **CPU)


def test_cancelled_before_the_launcher_process_is_ready(script: Script) -> None:
    cancel = threading.Event()
    cancel.set()
    result = launch(script("import time; time.sleep(60)"), cancel=cancel, **CPU)
    assert (result.status, result.failure) == (143, None)


def test_a_failure_before_the_timeout_is_that_failure(script: Script) -> None:
    result = launch(script("import sys; sys.exit(3)"), timeout=60, **CPU)
    assert (result.status, result.stacks) == (3, ())
    assert re.match(r"accel: rank [01] \(local rank .*\) failed first\n  cause: exit status 3\n", report(result))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_procesess": 2}, "'num_procesess' isn't a setting. Did you mean 'num_processes'"),
        ({"num_processes": "two"}, r"launch\(num_processes=\)"),
        ({"dry_run": True}, r"launch\(dry_run=\): it prints something and runs nothing; use accel_launch.plan"),
        ({"slurm": True}, r"launch\(slurm=\)"),
        ({"num_processes": 2, "cpu": True, "multi_gpu": True}, "multi_gpu"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_starts(script: Script, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(AccelError, match=message):
        launch(script("print('started')"), on_line=lambda line: pytest.fail(line.text), **settings)


def test_none_means_not_set_and_a_setting_wins_over_the_variable(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_LAUNCH_NUM_PROCESSES", "3")
    lines: list[Line] = []
    path = script("print('here')")
    launch(path, cpu=True, num_processes=None, on_line=lines.append)
    assert len(lines) == 3
    launch(path, cpu=True, num_processes=1, on_line=lines.append)
    assert len(lines) == 4


def test_a_function_of_a_module_returns_from_each_rank() -> None:
    assert launch(rank_and, args=(3,), kwargs={"second": 4}, **CPU) == [(0, 7), (1, 7)]
    assert launch(os.getppid, cpu=True, num_processes=1) != [os.getpid()]


@pytest.mark.exhaustive
def test_a_function_needs_no_cloudpickle_where_it_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    assert launch(rank_and, args=(3,), **CPU) == [(0, 3), (1, 3)]
    hint = re.escape(command("accel-launch[functions]"))
    with pytest.raises(AccelError, match=rf"without cloudpickle: .*; run: {hint}, or move it"):
        launch(lambda: 3, **CPU)


def test_a_lambda_goes_by_value() -> None:
    offset = 3
    assert launch(lambda: offset + int(os.environ["RANK"]), **CPU) == [3, 4]


def test_a_ranks_exception_is_raised_here_with_its_traceback() -> None:
    with pytest.raises(LaunchError, match="rank 1: LookupError: no such column") as raised:
        launch(fails_on_rank_1, **CPU)
    error = raised.value
    assert (error.rank, error.status, error.result.status) == (1, 1, 1)
    assert repr(error.__cause__) == "LookupError('no such column')"
    assert error.traceback.count("\n  File ") + error.traceback.startswith("  File ") == 1
    assert "in fails_on_rank_1\n    raise LookupError" in error.traceback
    assert error.traceback.strip() in str(error)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), str(again), again.rank, again.traceback) == (LaunchError, str(error), 1, error.traceback)


def test_the_line_of_a_notebooks_cell_is_in_the_traceback() -> None:
    """No file has it: the kernel keeps it for this process alone."""
    source = "def cell():\n    raise ValueError('in a cell')\n"
    lines = [str(line) for line in source.splitlines(keepends=True)]
    linecache.cache["<cell 1>"] = (len(source), None, lines, "<cell 1>")
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, "<cell 1>", "exec"), space)  # noqa: S102
    with pytest.raises(LaunchError) as raised:
        launch(space["cell"], **CPU)
    assert "in cell\n    raise ValueError('in a cell')\n" in raised.value.traceback


@pytest.mark.exhaustive
def test_an_exception_that_cant_be_made_again_is_text() -> None:
    with pytest.raises(LaunchError, match=r"rank [01]: .*Picky: 1 2") as raised:
        launch(picky, **CPU)
    assert raised.value.__cause__ is None


def test_a_rank_that_a_signal_ended() -> None:
    with pytest.raises(LaunchError, match=r"rank [01]: .*SIGKILL") as raised:
        launch(killed, **CPU)
    assert (raised.value.traceback, raised.value.__cause__, raised.value.status) == ("", None, 137)


def test_a_function_may_exit() -> None:
    assert launch(leaves, args=(0,), **CPU) == [5, None]
    with pytest.raises(LaunchError, match="rank 1: SystemExit: 9") as raised:
        launch(leaves, args=(9,), **CPU)
    assert raised.value.status == 9


def test_what_cant_be_returned_or_sent_is_named() -> None:
    with pytest.raises(LaunchError, match=r"what the function returned can't be sent to the caller: lock"):
        launch(unsendable, **CPU)
    with pytest.raises(AccelError, match=r"rank_and and its arguments can't be sent to the ranks: .*lock"):
        launch(rank_and, args=(threading.Lock(),), **CPU)


@pytest.mark.exhaustive
def test_a_functions_timeout_is_an_exception() -> None:
    with pytest.raises(
        LaunchTimeout, match=r"ended after 8 s, its timeout\n  2 of 2 ranks \(0-1\): test_calling"
    ) as raised:
        launch(sleeps, timeout=8, **CPU)
    assert "sleeps" in (seen := json.dumps(raised.value.result.stacks))
    assert "accel_launch" not in seen  # the program that calls the function
    assert isinstance(raised.value, TimeoutError)
    assert raised.value.status == 124


@pytest.mark.parametrize("settings", [{"module": True}, {"no_python": True}, {"python": sys.executable}])
def test_what_is_for_scripts_is_refused_for_a_function(settings: dict[str, Any]) -> None:
    with pytest.raises(AccelError, match="it is for scripts, and sleeps is a function"):
        launch(sleeps, **CPU, **settings)


def test_a_script_has_no_arguments_by_name(script: Script) -> None:
    with pytest.raises(TypeError, match="kwargs are a function's"):
        launch(script(""), kwargs={"a": 1})  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_a_functions_folder_is_private_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    modes: list[int] = []

    def look(event: Event) -> None:
        modes.extend(path.stat().st_mode & 0o777 for path in tmp_path.glob("accel-call-*"))

    launch(rank_and, args=(1,), on_event=look, **CPU)
    assert modes
    assert set(modes) == {0o700}
    assert not [*tmp_path.glob("accel-call-*")]


def test_one_process_that_has_inherited_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    assert launch(rank_and, args=(1,), cpu=True, num_processes=1) == [(3, 1)]
    with pytest.raises(LaunchError, match="Picky: 1 2") as raised:
        launch(picky, cpu=True, num_processes=1, on_line=print)
    assert "in picky" in raised.value.traceback


@pytest.mark.exhaustive
def test_several_at_once_from_threads() -> None:
    def one(number: int) -> list[tuple[int, int]]:
        return launch(rank_and, args=(number,), **CPU)

    with ThreadPoolExecutor(4) as threads:
        found = [*threads.map(one, range(4))]
    assert found == [[(0, number), (1, number)] for number in range(4)]


@pytest.mark.exhaustive
def test_one_within_a_callback_of_another(script: Script) -> None:
    inner: list[object] = []

    def take(_line: Line) -> None:
        inner.append(launch(rank_and, args=(1,), cpu=True, num_processes=1))

    assert launch(script("print()"), on_line=take, cpu=True, num_processes=1).status == 0
    assert inner == [[(0, 1)]]


MAIN = """
import os, sys, time
from accel_launch import LaunchError, launch

class Model:
    def __init__(self, rank): self.rank = rank

OFFSET = 10

def helper(): return OFFSET + int(os.environ["RANK"])

def train(count):
    if count < 0:
        raise ValueError(f"count {count}")
    return Model(helper() + count)

if __name__ == "__main__":
    models = launch(train, args=(1,), cpu=True, num_processes=2)
    print([(type(one) is Model, one.rank) for one in models])
    try:
        launch(train, args=(-1,), cpu=True, num_processes=2, on_line=lambda line: None)
    except LaunchError as error:
        print(repr(error.__cause__))
"""


@pytest.mark.exhaustive
def test_functions_and_classes_of_the_running_program(script: Script, environ: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, script(MAIN)], env=environ, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["[(True, 11), (True, 12)]", "ValueError('count -1')"], done.stderr


INTERRUPTED = """
import sys, time
from accel_launch import launch
try:
    launch(sys.argv[1], cpu=True, num_processes=2, grace=float(sys.argv[2]))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
PATIENT = """
import signal, sys, time
def end(number, frame):
    print("asked by", signal.Signals(number).name, flush=True)
    time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 0.3)
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, end)
print("ready", flush=True)
for _ in range(600):  # a signal just before one long sleep would only be handled after it
    time.sleep(0.1)
"""


@pytest.mark.parametrize("whole_group", [True, False], ids=["the terminal's", "the caller's alone"])
def test_an_interrupt_gives_ranks_their_grace_and_is_raised_again(
    script: Script, environ: dict[str, str], mark: str, whole_group: bool
) -> None:
    """From a terminal both get the signal, from a notebook or another process the caller alone."""
    ranks = script(PATIENT)
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, ranks, "20"],
        env=environ, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as caller:  # fmt: skip
        assert caller.stdout is not None
        assert [caller.stdout.readline() for _rank in range(2)] == ["ready\n"] * 2
        (os.killpg if whole_group else os.kill)(caller.pid, signal.SIGINT)
        rest = caller.stdout.read().splitlines()
        assert sorted(rest[:-1]) == ["asked by SIGINT"] * 2 + ["saved"] * 2
        assert rest[-1] == "interrupted"
        assert caller.wait(20) == 0
    assert until(lambda: not marked(mark), 5)


def test_a_second_interrupt_kills(script: Script, environ: dict[str, str], mark: str) -> None:
    ranks = script(PATIENT.replace("else 0.3", "else 60"))
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.replace("interrupted", "gone"), ranks, "50"],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    ) as caller:  # fmt: skip
        assert caller.stdout is not None
        assert [caller.stdout.readline() for _rank in range(2)] == ["ready\n"] * 2
        started = time.monotonic()
        os.kill(caller.pid, signal.SIGINT)
        assert caller.stdout.readline() == "asked by SIGINT\n"
        time.sleep(0.3)
        os.kill(caller.pid, signal.SIGINT)
        caller.wait(20)
        assert time.monotonic() - started < 15
    assert until(lambda: not marked(mark), 5)


@pytest.mark.exhaustive
def test_torch_meets_in_a_function() -> None:
    pytest.importorskip("torch")
    assert launch(summed, timeout=120, **CPU) == [3.0, 3.0]


def summed() -> float:
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    value = torch.tensor(float(dist.get_rank() + 1))
    dist.all_reduce(value)
    dist.destroy_process_group()
    return value.item()


def test_a_setting_error_is_one_too() -> None:
    with pytest.raises(SettingError):
        launch(sleeps, nothing_of_ours=1)
