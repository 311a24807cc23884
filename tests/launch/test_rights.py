"""Where another process can't be read: which right is missing, and that ranks give theirs to their launcher.

Yama isn't in every kernel that runs these tests, so its own refusal can't be seen everywhere. What is held here is what
it asks for: that each rank names its launcher (PR_SET_PTRACER) before its program starts, which an exec keeps.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from accel_launch.inspecting import rights
from tests.conftest import BIN, needs_torch
from tests.launch.processes import Script, until

READER = """\
import sys
from accel_launch.inspecting.snapshot import take
from accel_launch.inspecting.subject import Subject
print(take([Subject(0, 0, int(sys.argv[1]))], native=sys.argv[2:] == ["native"]).ranks[0].process.unread)
"""
FILTERED = """\
import ctypes, platform, struct
read, trace = {"x86_64": (310, 101), "aarch64": (270, 117)}[platform.machine()]  # process_vm_readv, ptrace
steps = [(0x20, 0, 0, 0), (0x15, 1, 0, read), (0x15, 0, 1, trace), (0x06, 0, 0, 0x50000 | 1), (0x06, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # no new privileges
assert libc.prctl(22, 2, ctypes.byref(Filter(len(steps), ctypes.addressof(program)))) == 0
"""


@pytest.fixture
def sleeper() -> Any:
    """A process to read."""
    with subprocess.Popen(
        [sys.executable, "-c", "print(1, flush=True); import time; time.sleep(100)"], stdout=subprocess.PIPE
    ) as popen:
        assert popen.stdout is not None
        popen.stdout.readline()
        yield popen
        popen.kill()


def read(pid: int, *before: str, text: str = READER, native: bool = False) -> str:
    """Return why a process can't be read from a program that these words start; empty if it can."""
    done = subprocess.run(
        [*before, sys.executable, "-c", text, str(pid), *["native"] * native],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_is_missing_here(sleeper: subprocess.Popen[bytes]) -> None:
    assert read(sleeper.pid) == ""
    assert read(sleeper.pid, native=True) == ""


def test_a_filter_is_named(sleeper: subprocess.Popen[bytes]) -> None:
    assert read(sleeper.pid, text=FILTERED + READER) == ""  # py-spy has another way
    told = read(sleeper.pid, text=FILTERED + READER, native=True)
    assert told.startswith(
        "reading another process isn't permitted here: a seccomp filter refuses ptrace, which --native needs; give"
    )


def test_another_user_namespace_is_named(sleeper: subprocess.Popen[bytes]) -> None:
    words = ("unshare", "--user", "--map-root-user")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*words, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this system makes no user namespaces")
    told = read(sleeper.pid, *words)
    assert "isn't permitted here: perhaps it doesn't let itself be read (PR_SET_DUMPABLE), or is in another " in told


HIDING = """
import ctypes, os, time
os.geteuid() or os.setuid(65534)
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
print(1, flush=True)
time.sleep(100)
"""


def test_a_process_that_hides_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a process is root's this isn't known, as its files in /proc are root's in any case."""
    user = os.geteuid() or 65534
    with subprocess.Popen([sys.executable, "-c", HIDING], stdout=subprocess.PIPE) as popen:
        assert popen.stdout is not None
        popen.stdout.readline()
        monkeypatch.setattr(os, "geteuid", lambda: user)
        told = rights.missing(popen.pid)
        popen.kill()
    assert told.startswith("it doesn't let itself be read (PR_SET_DUMPABLE); give")


@pytest.mark.parametrize(
    ("its", "own", "told"),
    [
        ("0000000000000400", "0000000000000000", "it has capabilities that this process lacks; give"),
        ("0000000000000400", "0000000000080000", "it has capabilities that this process lacks; give"),
        ("0000000000000400", "0000000000000c00", "perhaps it doesn't let itself be read"),
        ("0000000000000000", "0000000000000000", "perhaps it doesn't let itself be read"),
    ],
)
def test_a_capability_that_is_lacking_is_named(
    its: str, own: str, told: str, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"/proc/{sleeper.pid}/status": its, f"/proc/{os.getpid()}/status": own}
    user = f"Uid:\t{os.geteuid()}\t0\t0\t0"

    def text(path: str) -> str:
        return f"{user}\nCapPrm:\t{files[path]}\n" if path in files else ""

    monkeypatch.setattr(rights, "_text", text)
    assert rights.missing(sleeper.pid).startswith(told)


def test_another_user_is_named() -> None:
    """Process 1 is another user's, or has more rights; whoever is root and may read it has nothing to be told."""
    if os.geteuid() == 0:
        pytest.skip("root may read every user's processes")
    assert "isn't permitted here: it runs as another user (uid 0); give" in read(1)


@pytest.mark.parametrize(
    ("scope", "told"),
    [
        ("1", "kernel.yama.ptrace_scope is 1: ranks can be read, their children can't; set it to 0, or give"),
        ("2", "kernel.yama.ptrace_scope is 2; set it to 1 or 0, or give"),
        ("3", "kernel.yama.ptrace_scope is 3, until this machine is restarted; set it to 1 or 0 at its start"),
        ("0", "perhaps it doesn't let itself be read (PR_SET_DUMPABLE), or is in another user namespace; give"),
    ],
)
def test_yama_s_setting_is_named(scope: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ptrace_scope").write_text(f"{scope}\n")
    monkeypatch.setattr(rights, "YAMA", str(tmp_path / "ptrace_scope"))
    assert rights.missing(os.getpid()).startswith(told)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace isn't installed")
@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--preload", "json"),
        pytest.param(("--engine", "torchrun"), marks=[needs_torch, pytest.mark.exhaustive]),
    ],
    ids=["local", "preloaded", "torchrun"],
)
def test_each_rank_lets_its_launcher_read_it(
    flags: tuple[str, ...], script: Script, environ: dict[str, str], tmp_path: Path
) -> None:
    path = script("import os; print(os.getpid(), flush=True)")
    launch = [BIN / "accelerate", "launch", "-q", "--cpu", "--num_processes", "2", *flags, path]
    traced = ["strace", "-f", "-qq", "-e", "trace=prctl", "-e", "signal=none", "-o", tmp_path / "trace", *launch]
    done = subprocess.run(traced, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    named = dict(
        re.findall(r"(?m)^(\d+) +prctl\((?:PR_SET_PTRACER|0x59616d61), (\d+)", (tmp_path / "trace").read_text())
    )
    launcher = (tmp_path / "trace").read_text().split()[0]
    ranks = done.stdout.split()
    assert len(ranks) == 2
    assert {named.get(rank) for rank in ranks} == {launcher}


def test_a_launch_s_ranks_can_be_read_where_yama_restricts_it(script: Script, environ: dict[str, str]) -> None:
    """The real thing, where this kernel has it: without a capability, under ``kernel.yama.ptrace_scope=1``."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if not scope.exists() or scope.read_text().strip() != "1" or os.geteuid() == 0:
        pytest.skip("this kernel has no Yama with ptrace_scope 1, or this is root")
    path = script("import time\ndef hold():\n    time.sleep(100)\nhold()\n")
    words = [BIN / "accelerate", "launch", "-q", "--cpu", "--num_processes", "2", path]
    with subprocess.Popen(words, env=environ) as running:
        stacks = [str(BIN / "accelerate"), "stacks", str(running.pid)]
        try:
            assert until(
                lambda: (
                    "2 of 2 ranks (0-1): script1.py:3 hold > sleep"
                    in subprocess.run(stacks, env=environ, capture_output=True, text=True, check=False).stdout
                )
            )
        finally:
            running.terminate()
