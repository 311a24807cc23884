"""The parent of one rank under an engine, also where that carried the supervisor's address to another machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from accel_launch.engines.common.wrapping import PARENT
from tests.launch.hydra import Hydra
from tests.launch.processes import gone, until


def test_what_is_no_record_is_left_alone(tmp_path: Path) -> None:
    """There the address is that of another process's open files, or of none."""
    with (tmp_path / "somebody").open("w+") as file:
        number = file.fileno()
        environ = {**os.environ, "LOCAL_RANK": "0", "RANK": "3", "PMI_FD": "99"}
        for folder in (f"/proc/{os.getpid()}/fd", "/proc/4194305/fd"):
            environ["ACCEL_SUPERVISOR"] = f"{folder} {number} {number} {number} {number}"
            done = subprocess.run(
                [sys.executable, PARENT, "sh", "-c", "echo out; exit 7"],
                env=environ,
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert (done.returncode, done.stdout) == (7, "out\n")
        assert file.read() == ""


def test_it_is_named_after_its_rank_and_the_rank_is_as_without_it(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import os\nfor path in ('/proc/%d/comm' % os.getppid(), '/proc/self/comm', '/proc/self/cmdline'):\n"
        "    print(repr(open(path).read()))\n"
    )
    words = [sys.executable, "-u", str(script), "a b"]
    environ = {**os.environ, "RANK": "12"}
    done = subprocess.run([sys.executable, PARENT, *words], env=environ, capture_output=True, text=True, timeout=30)
    bare = subprocess.run(words, capture_output=True, text=True, timeout=30)
    parent, *own = done.stdout.splitlines()
    assert parent == repr("rank12:train.py\n")
    assert own == bare.stdout.splitlines()[1:]


def test_a_rank_that_must_see_its_device_alone_is_given_it() -> None:
    environ = {**os.environ, "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "6", "CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b"}
    show = ("sh", "-c", 'echo "$RANK $LOCAL_RANK $CUDA_VISIBLE_DEVICES $OWN"')
    for local, seen in (("0", "MIG-a"), ("1", "MIG-b"), ("2", "")):  # no other device where there are too few
        words = [sys.executable, PARENT, "--apart", "--wrap", "5", "2", "env", "OWN=%l", *show]
        environ["LOCAL_RANK"] = local
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=30)
        assert done.stdout == f"5 0 {seen} {local}\n", done.stderr


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"LOCAL_WORLD_SIZE": "2"}, ["GLOO_SOCKET_IFNAME=lo", "NCCL_SOCKET_IFNAME==lo"]),
        ({"LOCAL_SIZE": "2"}, ["GLOO_SOCKET_IFNAME=lo", "NCCL_SOCKET_IFNAME==lo"]),  # as DeepSpeed says it
        ({"LOCAL_WORLD_SIZE": "4"}, []),
        ({}, []),
        ({"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "name.invalid"}, []),
        ({"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a" * 70}, []),
        ({"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "-"}, []),  # isn't there
        ({"LOCAL_WORLD_SIZE": "2", "NCCL_SOCKET_IFNAME": "ib0"}, ["NCCL_SOCKET_IFNAME=ib0"]),
        ({"LOCAL_WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "ib0"}, ["GLOO_SOCKET_IFNAME=ib0"]),
    ],
)
def test_the_interface_is_named_on_the_machine_itself(told: dict[str, str], named: list[str]) -> None:
    environ = {"PATH": os.environ["PATH"], "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", **told}
    environ = {name: text for name, text in environ.items() if text != "-"}
    words = [sys.executable, "-I", "-S", PARENT, "env"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=30, check=True)
    assert sorted(line for line in done.stdout.splitlines() if "_SOCKET_IFNAME" in line) == named
    assert done.stderr == ""


def test_a_rank_that_nobody_numbered_is_not_taken_for_rank_0() -> None:
    record, stream, error = (os.memfd_create(name) for name in ("accel-record", "stream", "error"))
    told = f"/proc/{os.getpid()}/fd {record} {stream} {stream} {error}"
    environ = {name: text for name, text in os.environ.items() if name != "RANK"}
    words = [sys.executable, PARENT, "echo", "out"]
    for numbered, shown in (({}, "out\n"), ({"RANK": "0"}, "")):
        environ.update({"ACCEL_SUPERVISOR": told, **numbered})
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout == shown
        assert os.pread(record, 4096, 0).decode().startswith("started 0 0 ") == bool(numbered)
        assert os.pread(stream, 4096, 0).decode() == ("out\n" if numbered else "")
    for fd in (record, stream, error):
        os.close(fd)


@pytest.fixture
def supervised() -> Iterator[dict[str, int]]:
    """Files as a supervisor holds them for local rank 1, by name."""
    held = {name: os.memfd_create(f"accel-{name}") for name in ("record", "out", "err", "error")}
    yield held
    for fd in held.values():
        os.close(fd)


def start(held: dict[str, int], *words: str) -> subprocess.Popen[bytes]:
    numbers = [held["record"], 0, 0, 0, held["out"], held["err"], held["error"]]
    told = f"/proc/{os.getpid()}/fd {' '.join(map(str, numbers))}"
    environ = {**os.environ, "ACCEL_SUPERVISOR": told, "RANK": "5", "LOCAL_RANK": "1"}
    environ["TORCHELASTIC_RESTART_COUNT"] = "4"
    environ.pop("TORCHELASTIC_ERROR_FILE", None)
    return subprocess.Popen([sys.executable, PARENT, *words], env=environ)


def text(held: dict[str, int], name: str) -> str:
    return os.pread(held[name], 4096, 0).decode()


def test_a_rank_has_the_supervisors_streams_and_error_file(supervised: dict[str, int]) -> None:
    os.write(supervised["error"], b"what an earlier attempt left, which is longer")
    code = 'echo out; echo err >&2; echo told > "$TORCHELASTIC_ERROR_FILE"; exit 7'
    with start(supervised, "sh", "-c", code) as running:
        assert running.wait(20) == 7
    assert [text(supervised, name) for name in ("out", "err", "error")] == ["out\n", "err\n", "told\n"]
    started, ended = text(supervised, "record").splitlines()
    assert started == f"started 5 1 {started.split()[3]} {running.pid} 4"
    assert ended.startswith(f"ended {' '.join(started.split()[1:4])} {7 << 8} ")


def test_an_earlier_attempts_error_is_not_this_ones(supervised: dict[str, int]) -> None:
    os.write(supervised["error"], b"an earlier attempt's")
    with start(supervised, "true") as running:
        assert running.wait(20) == 0
    assert text(supervised, "error") == ""


@pytest.mark.parametrize("number", [1, 2, 3, 10, 12, 15])
def test_signals_are_passed_on_once_and_its_end_is_ours(supervised: dict[str, int], number: int) -> None:
    code = f"trap 'echo got' {number}; echo up; n=0; while [ $n -lt 30 ]; do sleep 0.01; n=$((n+1)); done; kill -9 $$"
    with start(supervised, "sh", "-c", code) as running:
        assert until(lambda: text(supervised, "out") == "up\n")
        running.send_signal(number)
        assert running.wait(20) == -signal.SIGKILL
    assert text(supervised, "out") == "up\ngot\n"


def test_whoever_hears_of_a_rank_may_send_it_a_signal(
    supervised: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "import signal, time\nreal = signal.signal\nsignal.signal = lambda *words: (time.sleep(0.1), real(*words))[1]\n"
    (tmp_path / "sitecustomize.py").write_text(slow)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with start(supervised, "sh", "-c", "trap 'echo got; exit 7' TERM; while true; do sleep 0.01; done") as running:
        assert until(lambda: "started" in text(supervised, "record"))
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) in (7, -signal.SIGTERM)  # the program may not have set its trap yet
    assert "ended 5 1 " in text(supervised, "record")


def test_a_rank_dies_with_its_parent(supervised: dict[str, int]) -> None:
    with start(supervised, "sleep", "60") as running:
        assert until(lambda: "started" in text(supervised, "record"))
        rank = int(text(supervised, "record").split()[3])
        assert until(lambda: psutil.Process(rank).name() == "sleep")
        running.kill()
        assert gone([rank])


def test_a_rank_whose_parent_died_at_once_is_never_its_program(tmp_path: Path) -> None:
    """Hydra may kill the parents of all ranks while some are being made."""
    late = f"""
import os, runpy, sys, time
fork = os.fork
def fork_and_die():
    parent = os.getpid()
    child = fork()
    if child:
        os.kill(parent, 9)
    while os.getppid() == parent:
        time.sleep(0.01)
    return 0
os.fork = fork_and_die
sys.argv[:1] = [{PARENT!r}]
runpy.run_path({PARENT!r}, run_name="__main__")
"""
    read, write = os.pipe()
    words = [sys.executable, "-c", late, "sh", "-c", f"touch {tmp_path / 'ran'}"]
    assert subprocess.run(words, pass_fds=[write], timeout=30, check=False).returncode == -signal.SIGKILL
    os.close(write)
    os.read(read, 1)  # its end of file: the rank is gone as well
    os.close(read)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("words", "met", "told"),
    [
        ("exit 7", "", ["abort exitcode=7"]),
        ("kill -9 $$", "", ["abort exitcode=137"]),
        ("exit 7", "1", ["abort exitcode=7"]),
        ("true", "1", ["finalize"]),
        ("true", "", []),
        ("test -z $ACCEL_MET", "1", ["finalize"]),
    ],
)
def test_parting_with_hydra(words: str, met: str, told: list[str]) -> None:
    """In PMI's words, over the socket that it gave."""
    hydra = Hydra(1)
    environ = {**os.environ, "LOCAL_RANK": "0", "PMI_FD": str(hydra.fds[0]), "MPI_LOCALRANKID": "0", "ACCEL_MET": met}
    subprocess.run([sys.executable, PARENT, "sh", "-c", words], env=environ, pass_fds=hydra.fds, timeout=30)
    hydra.close()
    assert hydra.received == [["init pmi_version=1 pmi_subversion=1", *told] if told else []]


def test_a_file_in_the_place_of_hydra_is_left_alone(tmp_path: Path) -> None:
    with (tmp_path / "data").open("w") as file:
        fd = file.fileno()
        environ = {**os.environ, "LOCAL_RANK": "0", "PMI_FD": str(fd), "MPI_LOCALRANKID": "0"}
        subprocess.run([sys.executable, PARENT, "sh", "-c", "exit 7"], env=environ, pass_fds=[fd], timeout=30)
    assert (tmp_path / "data").read_text() == ""
