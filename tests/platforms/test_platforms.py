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
SITE = Path(__file__).with_name("site")


def imitated(system: str, *words: str | Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python to its end as on another system."""
    return subprocess.run(
        [sys.executable, *words],
        env={**environ, "TESTS_PLATFORM": system, "PYTHONPATH": f"{SITE}{os.pathsep}{ROOT}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
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


@pytest.mark.parametrize(("system", "status", "printed"), [("darwin", 3, "rank of 1\n"), ("win32", 2, "")])
def test_one_process_becomes_the_script_or_is_refused(
    system: str, status: int, printed: str, environ: dict[str, str], script: Callable[[str], Path]
) -> None:
    path = script("import os, sys\nprint('rank of', os.environ.get('WORLD_SIZE', '1'))\nsys.exit(3)\n")
    done = imitated(system, "-m", "accel_cli", "launch", "--cpu", path, environ=environ)
    assert (done.returncode, done.stdout) == (status, printed), done.stderr
    assert ("WSL" in done.stderr) == (system == "win32")
