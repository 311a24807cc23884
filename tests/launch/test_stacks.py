"""What `accelerate stacks` tells of real runs, and how a stack is read as a place."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accel_config.showing.installing import command
from accel_launch.inspecting import kernel, report, rights, sampling
from accel_launch.inspecting.groups import Group, line, spans
from accel_launch.inspecting.places import locate, waiting_for
from accel_launch.inspecting.snapshot import Process, place_of, take
from accel_launch.inspecting.subject import Subject
from accel_launch.inspecting.threads import Frame, Thread
from accel_launch.machine import process_tree
from accel_launch.ranks import system
from accel_launch.running.onlookers.registry import folder as registry
from accel_launch.running.onlookers.registry.folder import SOCKET, Folder
from tests.conftest import Run
from tests.launch.processes import Script, Start, gone, until

N3 = ("--cpu", "--num_processes", "3")
TORCH = "/venv/lib/python3.12/site-packages/torch/"
C10D = TORCH + "distributed/distributed_c10d.py"
STUCK = """\
import os, threading, time
rank = int(os.environ["RANK"])
def wait():
    threading.Lock().acquire()
    lock = threading.Lock(); lock.acquire(); lock.acquire()
def spin():
    secret_count = 7
    while True:
        secret_count += 1
print(rank, flush=True)
spin() if rank == 1 else wait()
"""


def up(launched: Start, script: Script, text: str = STUCK, *flags: str) -> subprocess.Popen[str]:
    """Start three ranks, and wait until they are where they get stuck."""
    running = launched("-q", *N3, *flags, script(text))
    assert running.stdout is not None
    for _rank in range(3):
        running.stdout.readline()
    return running


# On demand.


def test_ranks_are_grouped_by_where_they_are(launched: Start, script: Script, accelerate: Run) -> None:
    running = up(launched, script)
    assert until(lambda: "lock.acquire" not in accelerate("stacks").stdout)
    done = accelerate("stacks", str(running.pid))
    one, two = done.stdout.splitlines()
    assert one.startswith("1 of 3 ranks (1): script1.py:")
    assert " spin" in one
    assert two == "2 of 3 ranks (0, 2): script1.py:5 wait > a lock"


@pytest.mark.exhaustive
def test_whole_stacks_with_variables(launched: Start, script: Script, accelerate: Run) -> None:
    up(launched, script)
    done = accelerate("stacks", "--locals")
    assert "spin (" in done.stdout
    assert "secret_count = " in done.stdout
    assert "secret_count" not in accelerate("stacks", "--all_threads").stdout


def test_json_has_ranks_groups_and_the_kernel_s_facts(launched: Start, script: Script, accelerate: Run) -> None:
    running = up(launched, script)
    found = json.loads(accelerate("stacks", "--json").stdout)
    assert found["launcher"] == running.pid
    assert [rank["rank"] for rank in found["ranks"]] == [0, 1, 2]
    waiting = found["ranks"][0]["process"]
    assert (waiting["state"], waiting["system_call"]) == ("S", "futex")
    assert waiting["threads"][0]["frames"][0]["function"] == "wait"


def test_children_are_shown_with_their_own_stacks(launched: Start, script: Script, accelerate: Run) -> None:
    text = (
        "import os, subprocess, sys, time\n"
        "work = 'import time\\ndef load():\\n    time.sleep(100)\\nprint(1, flush=True)\\nload()'\n"
        "subprocess.run([sys.executable, '-c', work])\n"
    )
    up(launched, script, text)
    assert until(lambda: accelerate("stacks", "--all_threads").stdout.count("load (<string>:3)") == 3)


def test_a_worker_that_a_rank_waits_for_is_in_its_line(launched: Start, script: Script, accelerate: Run) -> None:
    """As one of a data loader: forked, so the lines that led to the fork are on its stack too; others wait for work."""
    text = (
        "import multiprocessing, time\n"
        "def read_shard(number):\n    print(number, flush=True)\n    time.sleep(1000)\n"
        "def train():\n    with multiprocessing.get_context('fork').Pool(3) as pool:\n"
        "        pool.map(read_shard, [1])\n"
        "train()\n"
    )
    up(launched, script, text)
    told = "3 of 3 ranks (0-2): script1.py:7 train > multiprocessing Pool.map > threading"
    assert until(lambda: accelerate("stacks").stdout.count("worker: script1.py:4 read_shard > sleep\n") == 1)
    assert accelerate("stacks").stdout.startswith(told)


@pytest.mark.exhaustive
def test_calls_of_c_change_no_line_of_a_group(launched: Start, script: Script, accelerate: Run) -> None:
    up(launched, script, STUCK.replace("    while True:\n        secret_count += 1", "    time.sleep(1000)"))
    plain = "1 of 3 ranks (1): script1.py:8 spin > sleep\n2 of 3 ranks (0, 2): script1.py:5 wait > a lock\n"
    assert until(lambda: accelerate("stacks").stdout == plain)
    done = accelerate("stacks", "--native", "--locals")
    assert done.stdout.startswith(plain + "\n")
    assert re.search(r"\n    \w+ \(\S*/libc\.\S+\)\n", done.stdout)
    assert re.search(r"\n    spin \(\S+:8\)\n      secret_count = 7\n", done.stdout)
    found = json.loads(accelerate("stacks", "--native", "--json").stdout)
    lines = [frame["line"] for frame in found["ranks"][1]["process"]["threads"][0]["frames"]]
    assert 8 in lines
    assert None in lines
    assert 0 not in lines


@pytest.mark.exhaustive
def test_a_run_is_chosen_by_name_beginning_or_pid(launched: Start, script: Script, accelerate: Run) -> None:
    first, second = up(launched, script), up(launched, script)
    names = {
        pid: json.loads(accelerate("stacks", "--json", str(pid)).stdout)["run"] for pid in (first.pid, second.pid)
    }
    newest = json.loads(accelerate("stacks", "--json").stdout)
    assert newest["launcher"] == second.pid
    assert json.loads(accelerate("stacks", "--json", names[first.pid][:-1]).stdout)["launcher"] == first.pid
    done = accelerate("stacks", "nobody-here")
    assert done.returncode == 2
    assert f"no run 'nobody-here' is running on this machine; running: {names[second.pid]}" in done.stderr
    assert "single process" not in done.stderr
    assert "a single process has no launcher to ask" in accelerate("stacks", str(os.getpid())).stderr


def test_without_a_run_that_is_said(accelerate: Run) -> None:
    done = accelerate("stacks")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no run of this user is running on this machine" in done.stderr
    assert (
        "a single process has no launcher to ask, unless it is started with --stall_after or --name\n" in done.stderr
    )
    assert done.stderr.endswith("`py-spy dump --pid PID` shows the stacks of any process\n")
    assert (
        report.text({"groups": [], "ranks": []}) == "no rank has been started yet\n"
    )  # as while modules are preloaded


def test_a_launcher_that_is_stopped_is_named(
    launched: Start, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once; of one that seems to run, and doesn't answer, nothing else is claimed."""
    from accel_launch.running.onlookers.registry import asking, finding

    running = up(launched, script)
    environ = {**os.environ, **environ_of(running.pid)}
    assert until(lambda: finding.running(environ) != [])
    os.kill(running.pid, signal.SIGSTOP)
    assert until(lambda: process_tree.stopped(running.pid))
    run = finding.find(str(running.pid), environ)
    with pytest.raises(Exception, match=f"is stopped; `kill -CONT {running.pid}` lets it go on"):
        asking.ask(run.folder, {"ask": "stacks"})

    def unseen(_pid: int) -> bool:
        return False

    monkeypatch.setattr(process_tree, "stopped", unseen)
    with pytest.raises(Exception, match=r"doesn't answer within 0\.5 s: it answers others, or this machine"):
        asking.ask(run.folder, {"ask": "stacks"}, 0.5)
    os.kill(running.pid, signal.SIGCONT)


def environ_of(pid: int) -> dict[str, str]:
    """Return a process's environment."""
    words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


@pytest.mark.exhaustive
def test_nothing_in_a_rank_changes(launched: Start, script: Script, accelerate: Run) -> None:
    """No signal, no interrupted call, no tracer, and no pause that its own clock would show."""
    text = (
        "import os, signal, time\n"
        "print(os.getpid(), flush=True)\n"
        "last, longest = time.monotonic(), 0\n"
        "end = last + 6\n"
        "while last < end:\n"
        "    now = time.monotonic()\n"
        "    longest, last = max(longest, now - last), now\n"
        "print('longest', longest, open('/proc/self/status').read().count('TracerPid:\\t0'), flush=True)\n"
    )
    running = launched("-q", "--cpu", "--num_processes", "2", script(text))
    for _ in range(5):
        accelerate("stacks", "--all_threads")
    out, _err = running.communicate(timeout=60)
    assert running.returncode == 0
    assert out.count(" 1\n") == 2


# The folder.


def test_the_folder_of_a_run_is_private_and_goes_with_it_if_no_record_is_wanted(
    launched: Start, script: Script, environ: dict[str, str]
) -> None:
    running = up(launched, script, STUCK, "--no_record")
    runs = Path(environ["XDG_STATE_HOME"]) / "accel" / "runs"
    (folder,) = runs.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert Folder(str(folder)).pid == running.pid
    running.terminate()
    running.wait(10)
    assert list(runs.iterdir()) == []


def test_a_killed_launcher_leaves_a_folder_that_names_nobody(
    launched: Start, script: Script, accelerate: Run, environ: dict[str, str]
) -> None:
    running = up(launched, script)
    runs = Path(environ["XDG_STATE_HOME"]) / "accel" / "runs"
    (folder,) = runs.iterdir()
    running.kill()
    running.wait(10)
    assert Folder(str(folder)).pid == 0
    assert "no run of this user" in accelerate("stacks").stderr


def test_a_run_that_ends_removes_what_killed_launchers_left_without_a_record(
    launched: Start, script: Script, environ: dict[str, str], accelerate: Run
) -> None:
    """Not the folders of others: of a launcher that lives, of another machine, or of one that is just being made."""
    runs = Path(environ["XDG_STATE_HOME"]) / "accel" / "runs"
    here = " ".join(map(bytes.decode, registry.machine_names()))
    files = {
        "killed": here,
        "killed-before-a-restart": here.split()[0] + " 7",
        "killed-in-another-container": "x " + here.split()[1],
        "elsewhere": "node-7 7",
        "mine": None,
        "of-an-unknown-form": "",
    }
    for name, content in files.items():
        (runs / name).mkdir(parents=True)
        if content is not None:
            (runs / name / "socket").touch()
            (runs / name / "lock").write_text(content)
    for name, age in (("made-now", 0), ("never-locked", 3600)):
        (runs / name).mkdir()
        os.utime(runs / name, (time.time() - age, time.time() - age))
    (runs / "mine" / "file").touch()
    os.utime(runs / "mine", (0, 0))
    first = up(launched, script)
    accelerate("launch", "-q", "--cpu", "--num_processes", "2", script("pass"))
    left = {path.name for path in runs.iterdir()}
    assert len(left) == 4 + 2
    assert left > {"elsewhere", "mine", "made-now", "of-an-unknown-form"}
    assert first.pid in [Folder(str(path)).pid for path in runs.iterdir()]


@pytest.mark.exhaustive
def test_launchers_that_start_at_the_same_time_leave_each_other_s_folders(environ: dict[str, str]) -> None:
    """Each process makes a folder and is killed, over and over; all use the same few names."""
    text = (
        "import os, random, sys, time\n"
        "from accel_launch.running.onlookers.registry import folder, names\n"
        "names.chosen = lambda: random.choice('abcd')\n"
        "for _ in range(60):\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        try:\n"
        "            made = folder.Folder.make(os.environ)\n"
        "            time.sleep(0.005)\n"
        "            os._exit(not os.path.exists(made.path + '/lock'))\n"
        "        except BaseException as error:\n"
        "            print(repr(error), file=sys.stderr)\n"
        "            os._exit(2)\n"
        "    assert os.waitpid(pid, 0)[1] == 0\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", text], env=environ, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [(popen.communicate(timeout=60)[1], popen.returncode) for popen in running] == [("", 0)] * 4


@pytest.mark.exhaustive
def test_what_is_no_folder_of_a_run_hides_no_other(
    launched: Start, script: Script, accelerate: Run, environ: dict[str, str]
) -> None:
    runs = Path(environ["XDG_STATE_HOME"]) / "accel" / "runs"
    runs.mkdir(parents=True)
    (runs / "gone").symlink_to("nowhere")  # as one that has ended between two looks
    (runs / "file").touch()
    running = up(launched, script)
    (runs / "itself").symlink_to(next(path for path in runs.iterdir() if path.is_dir()))
    assert json.loads(accelerate("stacks", "--json", str(running.pid)).stdout)["launcher"] == running.pid


def test_a_run_goes_on_where_no_folder_can_be_made(accelerate: Run, script: Script, environ: dict[str, str]) -> None:
    environ["XDG_STATE_HOME"] = "/proc/nowhere"
    done = accelerate("launch", *N3, script("print('trained')"))
    assert (done.returncode, done.stdout) == (0, "trained\n" * 3)
    why = "No such file or directory; `accelerate ps`, `stop` and `stacks` can't find it"
    assert f"accel: note: no folder for this run: /proc/nowhere: {why}\n" in done.stderr


@pytest.mark.exhaustive
def test_questions_of_strangers_are_survived(
    launched: Start, script: Script, accelerate: Run, environ: dict[str, str]
) -> None:
    """Half a question, none, too long a one, no JSON; in a folder whose path is longer than a socket's address."""
    import socket

    environ["XDG_STATE_HOME"] += f"/{'long' * 50}"
    running = up(launched, script)
    (path,) = (Path(environ["XDG_STATE_HOME"]) / "accel" / "runs").iterdir()
    for words in (b"", b'{"ask"', b"x" * 100_000, b"[1]\n", b"no json\n", b'{"ask": "stacks"}\n'):
        with socket.socket(socket.AF_UNIX) as client:
            system.calls.reach(str(path), SOCKET, client.connect)
            try:
                client.sendall(words)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
            except OSError:
                continue
    assert "of 3 ranks" in accelerate("stacks").stdout
    running.terminate()
    assert running.wait(10) == -signal.SIGTERM


# What can't be read.


def calls(pid: int) -> str:
    """Return the system call in which a process waits."""
    found = kernel.facts(pid)
    return "" if found is None else found.call


def test_without_the_sampler_the_kernel_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "100"]) as popen:
        assert until(lambda: calls(popen.pid) == "clock_nanosleep")
        monkeypatch.setattr(sampling, "program", lambda: None)
        (stack,) = take([Subject(0, 0, popen.pid)]).ranks
        popen.kill()
    assert stack.doing == "sleep"
    assert stack.process is not None
    assert stack.process.unread == f"py-spy isn't installed; run: {command('py-spy')}"


FEW = """\
import resource, subprocess, sys
from accel_launch.inspecting import sampling
nap = [sys.executable, "-c", "import time\\nprint(1, flush=True)\\ntime.sleep(100)"]
naps = [subprocess.Popen(nap, stdout=subprocess.PIPE) for _ in range(12)]
for one in naps: one.stdout.readline(), one.stdout.close()
resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))
found = sampling.sample([one.pid for one in naps])
for one in naps: one.kill()
print([found[one.pid][0].frames[-1].line for one in naps])
"""


@pytest.mark.exhaustive
def test_with_few_descriptors_all_processes_are_read() -> None:
    done = subprocess.run([sys.executable, "-c", FEW], check=True, capture_output=True, text=True, timeout=100)
    assert done.stdout == f"{[3] * 12}\n"


def test_why_the_ranks_of_another_machine_cannot_be_read_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from accel_launch.inspecting.groups import grouped
    from accel_launch.running.onlookers.machines import merging
    from accel_launch.running.onlookers.machines.parts import as_message, from_message, parts_of

    with subprocess.Popen(["sleep", "100"]) as popen:
        monkeypatch.setattr(sampling, "program", lambda: None)
        seen = take([Subject(2, 0, popen.pid)]).ranks
        popen.kill()
    sent = as_message(parts_of(grouped(seen), {}, {2: (0, popen.pid)}))
    merged = merging.merged({1: from_message(sent)}, {1: "node2"})
    found = {"ranks": [], "groups": [each.as_json() for each in merged], "all_ranks": 3}
    missing = f"py-spy isn't installed; run: {command('py-spy')}"
    assert report.text(found).splitlines()[-1] == f"not read: {missing} (on machine 1 (node2))"


def test_a_program_that_is_no_python(tmp_path: Path) -> None:
    with subprocess.Popen(["sh", "-c", "read line"], stdin=subprocess.PIPE) as popen:
        assert until(lambda: calls(popen.pid) == "read")
        (stack,) = take([Subject(0, 0, popen.pid)]).ranks
        popen.kill()
    assert stack.doing == "sh > read"
    assert stack.process is not None
    assert stack.process.unread == "not a Python process"


def test_a_rank_that_is_gone_and_one_that_is_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as popen:
        time.sleep(0.3)
        os.kill(popen.pid, signal.SIGSTOP)
        assert until(
            lambda: take([Subject(0, 0, popen.pid)]).ranks[0].doing.endswith(f"stopped (T): kill -CONT {popen.pid}")
        )
        popen.kill()
        popen.wait()
    assert gone([popen.pid])
    assert take([Subject(0, 0, popen.pid)]).ranks[0].doing == "ended"


TRACER = """\
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.prctl(15, sys.argv[2].encode(), 0, 0, 0)  # PR_SET_NAME
pid = int(sys.argv[1])
if libc.ptrace(16, pid, None, None) == 0:  # PTRACE_ATTACH
    os.waitpid(pid, 0x40000000)  # __WALL
    print(1, flush=True)
    sys.stdin.readline()
    libc.ptrace(17, pid, None, None)  # PTRACE_DETACH
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [("py-spy", "python > poll"), ("accel-copier", "python > poll"), ("gdb", "python > poll, under a debugger")],
)
def test_a_sampler_is_no_debugger(name: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops a rank for a moment, whoever has started it. Afterwards the rank waits on by another system call."""
    monkeypatch.setattr(sampling, "program", lambda: None)
    text = "import select; select.poll().poll(1000000)"
    with subprocess.Popen([sys.executable, "-c", text]) as waiting:
        subject = Subject(0, 0, waiting.pid)
        assert until(lambda: take([subject]).ranks[0].doing == "python > poll")
        words = [sys.executable, "-c", TRACER, str(waiting.pid), name]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tracer:
            assert tracer.stdout is not None
            try:
                if not tracer.stdout.readline():
                    pytest.skip("this system lets nobody trace a process")
                debugger = f"{told} (pid {tracer.pid})" if name == "gdb" else told
                assert take([subject]).ranks[0].doing == debugger
                assert rights.missing(waiting.pid, native=True).startswith(f"another program (pid {tracer.pid}) ")
                tracer.communicate(b"\n")
                assert until(lambda: take([subject]).ranks[0].doing == "python > poll")
            finally:
                waiting.kill()


# Places.


def frame(function: str, file: str, number: int = 1) -> Frame:
    """Return a frame."""
    return Frame(function, file, number)


TRAIN = frame("train_step", "/home/me/train.py", 88)


@pytest.mark.parametrize(
    ("frames", "text", "collective"),
    [
        ([TRAIN], "train.py:88 train_step", False),
        ([frame("all_reduce", C10D), frame("wrapper", TORCH + "distributed/c10d_logger.py"), TRAIN], "train.py:88 train_step > torch all_reduce", True),
        ([frame("_recv", C10D), frame("barrier", C10D), TRAIN], "train.py:88 train_step > torch barrier", True),
        (
            [
                frame("all_gather_into_tensor", C10D),
                frame("gather", "/venv/lib/python3.12/site-packages/accelerate/utils/operations.py"),
                TRAIN,
            ],
            "train.py:88 train_step > accelerate gather > torch all_gather_into_tensor",
            True,
        ),
        ([frame("synchronize", TORCH + "cuda/__init__.py"), TRAIN], "train.py:88 train_step > torch synchronize", True),
        (
            [frame("linear", TORCH + "nn/functional.py"), frame("forward", TORCH + "distributed/fsdp/fully_sharded.py"), TRAIN],
            "train.py:88 train_step > torch forward > torch linear",
            False,
        ),
        ([frame("wait", "/usr/lib/python3.12/threading.py"), frame("get", "/usr/lib/python3.12/queue.py"), TRAIN], "train.py:88 train_step > queue get > threading wait", False),
        ([frame("_find_and_load", "<frozen importlib._bootstrap>"), TRAIN], "train.py:88 train_step > import", False),
        (
            [frame("main", "/venv/lib/python3.12/site-packages/trl/sft.py", 7), frame("_run_code", "<frozen runpy>")],
            "sft.py:7 main",
            False,
        ),
        ([], "", False),
    ],
)  # fmt: skip
def test_places(frames: list[Frame], text: str, collective: bool) -> None:
    place = locate(frames)
    assert (place.text, place.collective) == (text, collective)


@pytest.mark.parametrize(
    "call",
    [
        "work.wait()",
        "while not work.is_completed(): pass",
        "out = torch.ops._c10d_functional.wait_tensor(out)",
        "value = store.get(key)",
        "store.wait([key])  # work",
        "loss.backward()",
    ],
)
def test_a_wait_in_c_is_known_by_its_line(tmp_path: Path, call: str) -> None:
    path = tmp_path / "train.py"
    path.write_text(f"{call}\n")
    place = locate([frame("<module>", str(path))])
    assert place.collective
    assert place.certain == ("work." in call)
    assert place.operations == ("torch store",) * ("store" in call)
    assert place.waits("S")
    assert place.waits("R") == place.certain  # a backward pass on the CPU computes


@pytest.mark.parametrize("call", ["loss.item()", "torch.cuda.synchronize()", "loss.cpu()", "losses.tolist()"])
def test_what_waits_for_a_device_computes_where_there_is_none(tmp_path: Path, call: str) -> None:
    path = tmp_path / "train.py"
    path.write_text(f"{call}\n")
    place = locate([frame("<module>", str(path))])
    assert not waiting_for(place, device=False).collective
    assert waiting_for(place, device=True).waits("R")


def test_what_a_collective_of_objects_pickles_is_no_wait() -> None:
    c10d, own = "/lib/site-packages/torch/distributed/distributed_c10d.py", frame("<module>", "/train.py")
    inside = [frame("broadcast_object_list", c10d), own]
    assert locate(inside).collective
    assert not locate([frame("_object_to_tensor", c10d), *inside]).collective


def test_a_file_that_does_not_come_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.py")
    began = time.monotonic()
    for _ in range(20):
        assert locate([frame("<module>", str(tmp_path / "train.py"))]).file
    assert time.monotonic() - began < 3


def test_a_loop_that_asks_whether_a_collective_is_done_is_one_place(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(
        "if work:\n    while not work.is_completed():\n        if slow:\n            sleep(1)\n\n        pass\n    pass\npass\n"
    )
    found = [locate([frame("<module>", str(path), number)]) for number in (1, 2, 3, 4, 6, 7, 8)]
    assert [(place.line, place.collective) for place in found] == [
        *((1, False), (2, True), (2, True), (2, True), (2, True), (7, False), (8, False))
    ]
    path = tmp_path / "another.py"  # lines of files are cached
    path.write_text("while more():\n    while step():\n        pass\n    work.is_completed()\n")
    assert not any(locate([frame("<module>", str(path), number)]).collective for number in range(1, 5))
    path = tmp_path / "long.py"
    path.write_text("while (\n    not work.is_completed()\n):\n    sleep(0.1)\n")
    assert [locate([frame("<module>", str(path), number)]).line for number in (1, 4)] == [1, 1]
    assert all(locate([frame("<module>", str(path), number)]).collective for number in (1, 4))
    path = tmp_path / "third.py"
    path.write_text("while True:\n    if work.is_completed():\n        break\n")
    assert {locate([frame("<module>", str(path), number)]).line for number in (1, 2)} == {1}
    assert locate([frame("<module>", str(path), 2)]).collective


@pytest.mark.parametrize(
    "loop", ["while not done(work):\n    pass\n", "while True:\n    if done(work):\n        break\n"]
)
def test_a_loop_may_ask_by_a_function(tmp_path: Path, loop: str) -> None:
    path = tmp_path / "train.py"
    path.write_text(f"def done(work):\n    return work.is_completed()\n{loop}done(work)\n")
    last = 3 + loop.count("\n")
    asking, outside = frame("done", str(path), 2), frame("<module>", str(path), last)
    for number in (3, 4):
        calling = frame("<module>", str(path), number)
        place = locate([asking, calling])
        assert (place.line, place.function, place.collective, place.certain, place.loop) == (
            3,
            "<module>",
            True,
            True,
            3,
        )
        place = locate([frame("done.<locals>.<genexpr>", str(path), 2), asking, calling])
        assert (place.line, place.collective) == (3, True)
        assert not locate([frame("other", str(path), 1), calling]).collective
        assert (locate([calling]).loop, locate([calling]).collective) == (3, False)
    assert not locate([asking, outside]).collective
    assert locate([outside]).loop == 0


def test_a_prompt_is_one() -> None:
    pdb = frame("Pdb.interaction", "/usr/lib/python3.12/pdb.py")
    assert locate([frame("cmdloop", "/usr/lib/python3.12/cmd.py"), pdb, TRAIN]).prompt


def test_lines_of_groups() -> None:
    assert line(Group((0, 1, 2, 4), "train.py:3 f"), 8) == "4 of 8 ranks (0-2, 4): train.py:3 f"
    assert line(Group((0,), "x", host="node-2"), 1) == "1 of 1 rank (0) on node-2: x"
    assert spans([5, 1, 0, 7, 6]) == "0-1, 5-7"


def test_what_waits_in_a_call_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is read before the call, and may be that of a moment ago."""
    with subprocess.Popen(["sleep", "60"]) as popen:
        assert until(lambda: (found := kernel.facts(popen.pid)) is not None and found.call == "clock_nanosleep")
        before = kernel.process(popen.pid)
        assert before is not None
        running = (before[0], "R", *before[2:])

        def look(_pid: int) -> tuple[str, str, float, int]:
            return running

        monkeypatch.setattr(kernel, "process", look)
        found = kernel.facts(popen.pid)
        popen.kill()
    assert found is not None
    assert found.state == "S"


def test_a_main_thread_may_wait_for_one_that_waits_in_a_collective() -> None:
    main = (frame("wait", "/usr/lib/python3.11/threading.py", 5), frame("step", "/train.py", 9))
    c10d = (
        frame("all_reduce", "/lib/site-packages/torch/distributed/distributed_c10d.py"),
        frame("run", "/train.py"),
    )
    facts = kernel.Facts(pid=7, name="python", state="S", cpu=0.0, started=1)
    threads = tuple(Thread(7 + n, "", active=False, gil=False, frames=each) for n, each in enumerate((main, c10d)))
    place = place_of(Process(facts, threads))
    assert (place.collective, place.text) == (True, "train.py:9 step > threading wait > torch all_reduce")
    assert not place_of(Process(facts, threads[:1])).collective
    busy = threads[0].replace(frames=main[1:])
    assert not place_of(Process(facts, (busy, threads[1]))).collective
