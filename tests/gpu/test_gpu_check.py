"""benchmarks/gpu_check.py: how it runs checks, and what it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
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
    return subprocess.run([sys.executable, program, *words], capture_output=True, text=True, env=environ, timeout=500)


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
    done = run("--only", "__main__.good", "--out", str(first), *compare, program=program, SEEN="2", **pids)
    assert done.returncode == 1
    shown = done.stdout.partition("| claim | first | now |\n")[2].splitlines()
    assert shown == ["| --- | --- | --- |", "| a claim that doesn't | yes: 1 | no: 2 |"]
    assert "2 claims: 1 yes, 1 no" in done.stdout
    assert "not seen: __main__.lacking" not in done.stderr
    again = rows(first)  # what another run in the folder hasn't seen anew stays
    assert (again["a claim that doesn't"]["seen"], len(again)) == ("2", len(found))
    file = first / "results.json"
    file.write_text(file.read_text().replace('"driver": null', '"driver": "1.2"'))
    run("--only", "__main__.good", "--out", str(first), program=program, SEEN="1", **pids)
    assert len(rows(first)) == 2  # another machine's are kept apart
    assert len(list(first.glob("results-*.json"))) == 1
    begun = subprocess.Popen(
        [sys.executable, program, "--only", "__main__.hanging", "__main__.good", "--out", second],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "SEEN": "1", **pids},
    )  # fmt: skip
    (tmp_path / "pids").unlink()
    assert until((tmp_path / "pids").exists)
    begun.send_signal(signal.SIGHUP)
    said, _ = begun.communicate(timeout=60)
    assert begun.returncode == 130
    assert said.partition("Interrupted.")[2].splitlines()[-1] == "2 claims: 2 yes", said


def test_without_time_a_check_says_so_and_unknown_names_are_refused(tmp_path: Path) -> None:
    program = tmp_path / "own.py"
    program.write_text(OWN)
    words = ("--only", "__main__.good", "--within", "1", "--out", str(tmp_path / "out"))
    assert run(*words, program=program).returncode == 0
    assert "--only __main__.good" in rows(tmp_path / "out")["a claim that holds"]["seen"]
    done = run(*words[:2], "--compare", str(tmp_path / "nothing"), program=program)
    assert (done.returncode, done.stdout) == (1, "")  # before any check
    assert "nothing isn't a file of results" in done.stderr
    done = run("--only", "memry")
    assert done.returncode == 1
    assert "areas: finding, tools, endings, runs, memory" in done.stderr
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("other-1-cp39-cp39-linux_x86_64.whl", "pyyaml-6-cp39-cp39-linux_x86_64.whl"):
        with zipfile.ZipFile(wheels / name, "w") as wheel:
            wheel.writestr(f"{name[:5]}.py", "")
    done = run(*words, "--wheels", str(wheels), program=program)
    assert "other-1-cp39-cp39-linux_x86_64.whl isn't used: it is for cp39, and this Python is cp3" in done.stderr
    assert [file.name for file in (tmp_path / "out" / "site").iterdir()] == ["pyyam.py"]
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
