"""The oldest torch whose agent the launcher starts, as ``--python`` names it, and the youngest that needs a folder."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import Run
from tests.environments import install, kept
from tests.interpreters import find
from tests.launch.processes import Script, Start, read_pids, until

OLD = ("2.1.2", "2.5.1")
N2 = ("--cpu", "--num_processes", "2", "--engine", "torchrun")
MEET = """\
import os, sys, torch, torch.distributed as dist
dist.init_process_group("gloo")
ones = torch.ones(1)
dist.all_reduce(ones)
print(torch.__version__.partition("+")[0], int(ones), "ACCEL_SCRATCH" in os.environ, flush=True)
if os.environ["RANK"] == "1" and int(os.environ["TORCHELASTIC_RESTART_COUNT"]) < int(sys.argv[1]):
    raise ValueError("boom")
dist.barrier()
dist.destroy_process_group()
"""


@pytest.fixture(params=OLD)
def old(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A version of torch, and an interpreter that has it."""
    version: str = request.param
    python = find("3.11")
    if python is None:
        pytest.skip("torch 2.1 needs Python 3.11 or older, which isn't on this machine")

    def make(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        install(folder, f"torch=={version}", "numpy<2", python=python)  # torch up to 2.2 was built for numpy 1

    return version, kept(f"torch-{version}", make) / "python"


@pytest.fixture
def folders(environ: dict[str, str], tmp_path: Path) -> Iterator[Path]:
    """The folder for temporary files of a launch, which must be empty at its end."""
    found = tmp_path / "temporary"
    found.mkdir()
    environ["TMPDIR"] = str(found)
    yield found
    assert until(lambda: not list(found.iterdir())), list(found.iterdir())


@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("folders")
def test_ranks_meet_fail_and_are_restarted(old: tuple[str, Path], accelerate: Run, script: Script) -> None:
    version, python = old
    path = script(MEET)
    done = accelerate("launch", *N2, "--python", str(python), str(path), "0", timeout=180)
    assert (done.returncode, done.stdout.splitlines()) == (0, [f"{version} 2 False"] * 2), done.stderr
    done = accelerate("launch", *N2, "--python", str(python), str(path), "9", timeout=180)
    assert done.returncode == 1
    assert "rank 1 (local rank 1" in done.stderr
    assert "exception: ValueError: boom" in done.stderr
    done = accelerate("launch", *N2, "--max_restarts", "1", "--python", str(python), str(path), "1", timeout=180)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 4), done.stderr


@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.parametrize("killed", ["launcher", "guardian", "agent", "launcher, twice asked"])
def test_the_agents_folder_goes_however_the_run_ends(
    old: tuple[str, Path], folders: Path, launched: Start, script: Script, killed: str
) -> None:
    path = script(
        "import os, signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint(os.getpid(), flush=True)\ntime.sleep(99)\n"
    )
    running = launched(*N2, "--grace", "1", "--python", old[1], path)
    read_pids(running, 2)
    assert list(folders.iterdir())
    launcher = psutil.Process(running.pid)
    (guardian,) = launcher.children()
    victim = {"launcher": launcher, "guardian": guardian, "agent": guardian.children()[0]}.get(killed)
    if victim is not None:
        os.kill(victim.pid, signal.SIGKILL)
    else:
        running.terminate()
        time.sleep(0.2)
        running.terminate()
    running.wait(30)
