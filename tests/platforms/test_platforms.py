"""What must work on macOS and Windows too, in processes that lack what isn't there: imitated, since no test has run there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.platforms.rooms import SYSTEMS

PURE = (
    *("config/checking", "config/content", "config/document", "config/environ", "config/files", "config/flags"),
    *("config/interview", "config/layers", "config/own", "config/paradigm", "config/presets", "config/section"),
    *("estimate/local", "estimate/strategies", "estimate/weights", "launch/checks", "launch/layout", "launch/plan"),
)
"""Files of tests of what works everywhere: config, estimate and planning."""
SUPERVISED = (
    "process_tree",
    "supervisor",
    "run",
    "leftovers",
    "terminal",
    "restarts",
    "engine_torchrun",
    "session",
    "runs",
)
"""Files of the launcher's contract that macOS has to keep too."""
LINUX = {
    "accel_launch's processes have no names of their own": (
        "test_leftovers.py::test_what_the_launcher_did_not_start_is_left_alone",
    ),
    "the launcher is never the first process of a container": (
        "test_supervisor.py::test_as_pid_1_a_signal_is_an_exit_status",
        "test_leftovers.py::test_as_pid_1",
    ),
    "there are no cgroups": ("test_supervisor.py::test_out_of_memory_is_told_by_the_cgroups_counters",),
    "standing still isn't seen": (
        "test_run.py::test_one_process_is_supervised_where_a_flag_asks_for_it[--stall_after 60]",
    ),
}
"""Tests of these files that don't run there, by reason; a name stands for all that begin so."""
SITE = Path(__file__).with_name("site")


def imitated(
    system: str, *words: str | Path, environ: dict[str, str], timeout: float = 170
) -> subprocess.CompletedProcess[str]:
    """Run Python to its end as on another system."""
    return subprocess.run(
        [sys.executable, *words],
        env={**environ, "TESTS_PLATFORM": system, "PYTHONPATH": f"{SITE}{os.pathsep}{ROOT}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.mark.parametrize("system", SYSTEMS)
def test_everything_is_imported_and_commands_answer(system: str, environ: dict[str, str], tmp_path: Path) -> None:
    done = imitated(system, Path(__file__).with_name("probe.py"), system, tmp_path, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 300


@pytest.mark.exhaustive
@pytest.mark.parametrize("system", SYSTEMS)
def test_config_estimate_and_planning_pass_their_tests(system: str, environ: dict[str, str], tmp_path: Path) -> None:
    files = [ROOT / "tests" / name.replace("/", "/test_") for name in PURE]
    words = ("-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "-q", "--basetemp", tmp_path / "tests")
    done = imitated(system, *words, *(file.with_suffix(".py") for file in files), environ=environ)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_the_launchers_contract_holds_on_macos(environ: dict[str, str], tmp_path: Path) -> None:
    files = [ROOT / f"tests/launch/test_{name}.py" for name in SUPERVISED]
    left = [f"--deselect=tests/launch/{name}" for names in LINUX.values() for name in names]
    words = ("-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "-q", "--basetemp", tmp_path / "tests")
    system = ROOT / "tests/platforms/test_system.py"
    done = imitated("darwin", *words, *left, system, *files, environ=environ, timeout=880)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.parametrize(("system", "status", "printed"), [("darwin", 3, "rank of 1\n"), ("win32", 2, "")])
def test_one_process_becomes_the_script_or_is_refused(
    system: str, status: int, printed: str, environ: dict[str, str], script: Callable[[str], Path]
) -> None:
    path = script("import os, sys\nprint('rank of', os.environ.get('WORLD_SIZE', '1'))\nsys.exit(3)\n")
    done = imitated(system, "-m", "accel_cli", "launch", "--cpu", path, environ=environ)
    assert (done.returncode, done.stdout) == (status, printed), done.stderr
    assert ("WSL" in done.stderr) == (system == "win32")
