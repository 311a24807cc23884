"""benchmarks/gpu_check.py: how it runs checks, what it writes, and a rehearsal on the CPU with a stand-in driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.gpu import driver
from tests.launch.processes import until

PROGRAM = ROOT / "benchmarks" / "gpu_check.py"
without_a_gpu = pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has an NVIDIA GPU")

OWN = f"""
import os, signal, subprocess, sys, time
sys.path.insert(0, {str(ROOT)!r})
from benchmarks import gpu_check
from benchmarks.gpu_checks.check import NotSeenError, check, row

@check("a claim that holds", seconds=60)
def good(bench):
    yield row("a claim that holds", 1, 1, number=2.0, unit="s")
    yield row("a claim that doesn't", 1, int(os.environ["SEEN"]))

@check("a check that fails", seconds=60)
def failing(bench):
    yield row("what it saw before", 1, 1)
    raise ValueError("oh")

@check("a check that dies", seconds=60)
def dying(bench):
    yield row("what it saw before it died", 1, 1)
    os.kill(os.getpid(), signal.SIGSEGV)

@check("a check that hangs", seconds=3)
def hanging(bench):
    child = "import os,signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.setsid(); time.sleep(600)"
    left = subprocess.Popen([sys.executable, "-c", child])
    with open(os.environ["PIDS"], "w") as file:
        print(left.pid, os.getpid(), file=file)
    time.sleep(600)
    yield

@check("a claim that can't be seen", seconds=60)
def unseen(bench):
    raise NotSeenError("no reason")
    yield

@check("a check whose need isn't met", seconds=60, needs=("mig",))
def lacking(bench):
    yield row("never", 1, 1)

sys.exit(gpu_check.main(__file__))
"""


def run(*words: str, program: Path = PROGRAM, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **variables}
    return subprocess.run([sys.executable, program, *words], capture_output=True, text=True, env=environ, timeout=170)


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["claim"]: row for row in json.loads((folder / "results.json").read_text())["rows"]}


def test_a_check_that_fails_dies_or_hangs_stops_no_other_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    program, first, second = tmp_path / "own.py", tmp_path / "first", tmp_path / "second"
    program.write_text(OWN)
    pids = {"PIDS": str(tmp_path / "pids"), "PATH": "/bin:/usr/bin"}
    done = run("--only", "__main__", "--out", str(first), program=program, SEEN="1", **pids)
    assert done.returncode == 1, done.stderr
    found = {claim: (row["holds"], row["seen"]) for claim, row in rows(first).items()}
    assert found["a claim that holds"] == found["a claim that doesn't"] == ("yes", "1")
    assert found["what it saw before"] == found["what it saw before it died"] == ("yes", "1")
    assert found["a check that fails"] == ("broken", "the check failed: ValueError: oh (own.py:15)")
    assert "the check's process ended with -11" in found["a check that dies"][1]
    assert found["a check that hangs"][0] == "broken"
    assert "longer than its limit of 3 s" in found["a check that hangs"][1]
    assert found["a claim that can't be seen"] == ("not seen", "no reason")
    assert found["a check whose need isn't met"] == ("not seen", "MIG isn't on for any device")
    assert until(lambda: not any(Path("/proc", pid).exists() for pid in (tmp_path / "pids").read_text().split()))
    table = (first / "table.md").read_text()
    assert "| a claim that doesn't | 1 | 1 | yes |" in table
    compare = ("--compare", str(first / "results.json"))
    done = run("--only", "__main__.good", "--out", str(second), *compare, program=program, SEEN="2", **pids)
    assert done.returncode == 1
    assert "| a claim that doesn't | yes: 1 | no: 2 |" in done.stdout
    assert "| a claim that holds |" not in done.stdout.partition("| claim | first | now |")[2]
    assert "| what it saw before | yes: 1 | - |" in done.stdout


def test_without_time_a_check_says_so_and_unknown_names_are_refused(tmp_path: Path) -> None:
    program = tmp_path / "own.py"
    program.write_text(OWN)
    words = ("--only", "__main__.good", "--within", "1", "--out", str(tmp_path / "out"))
    assert run(*words, program=program).returncode == 0
    assert "--only __main__.good" in rows(tmp_path / "out")["a claim that holds"]["seen"]
    done = run("--only", "memry")
    assert done.returncode == 1
    assert "areas: finding, tools, endings, runs, memory" in done.stderr
    listed = run("--list").stdout.splitlines()
    assert len(listed) >= 30
    assert {line.partition(".")[0] for line in listed} == {"finding", "runs", "endings", "memory", "tools"}


@without_a_gpu
def test_without_a_gpu_every_check_is_skipped_by_name(tmp_path: Path) -> None:
    done = run("--out", str(tmp_path), PATH="/bin:/usr/bin")
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path)
    assert len(found) >= 30
    assert {row["holds"] for row in found.values()} == {"not seen"}
    assert {row["seen"] for row in found.values()} <= {
        "no NVIDIA GPU: /dev has no nvidia0",
        "nvidia-smi isn't on PATH",
    }
    assert not list(tmp_path.glob("gpu-*.json"))


def rehearsed(folder: Path, *names: str) -> dict[str, dict[str, Any]]:
    """Return the rows of a rehearsal; none may be broken, and nothing but what a device decides unseen."""
    words, stand_in = ("--rehearse", "--only", *names, "--out", str(folder / "out")), driver.install(folder)
    done = run(*words, program=PROGRAM, **stand_in)
    found = rows(folder / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    return found


@without_a_gpu
@pytest.mark.exhaustive
def test_what_needs_no_torch_is_rehearsed_with_a_stand_in_of_the_driver(tmp_path: Path) -> None:
    found = rehearsed(tmp_path, "finding.ids", "finding.absent", "endings.killed", "tools.idle", "tools.ps_and_top")
    assert {row["holds"] for row in found.values()} == {"yes"}
    assert found["The driver shows the memory that a rank holds"]["seen"] == "10.00 GiB"
    assert found["The memory of a rank that was killed is free in time"]["number"] < 50
    assert len(found) >= 13


@without_a_gpu
def test_what_needs_torch_is_rehearsed_on_the_cpu(tmp_path: Path) -> None:
    if find_spec("transformers") is None:
        pytest.skip("transformers is not installed: sync the group `hf`")
    found = rehearsed(tmp_path, "memory.training")
    seen = {claim: row["seen"] for claim, row in found.items()}
    assert seen["Every point can be traced"] == "none of 1 fails"
    trained = [row["seen"] for claim, row in found.items() if claim.startswith("Training tiny")]
    assert trained == ["a rehearsal measures nothing, but this point ran"]
    assert {row["holds"] for row in found.values()} == {"yes", "not seen"}
