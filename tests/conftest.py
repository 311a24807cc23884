"""What every test may use: settings from a command line, and real launches that leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.schedule import (
    once,
    pytest_cmdline_main,
    pytest_collection,
    pytest_collection_modifyitems,
    pytest_ignore_collect,
    pytest_runtest_protocol,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config import Settings

__all__ = [
    "pytest_cmdline_main",
    "pytest_collection",
    "pytest_collection_modifyitems",
    "pytest_ignore_collect",
    "pytest_runtest_protocol",
    "pytest_xdist_auto_num_workers",
    "pytest_xdist_make_scheduler",
]

# Some images set it, and then each of the thousand processes that the tests start would compile torch anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

Resolve = Callable[..., "Settings"]
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch isn't installed: sync the group `torch`")


def pytest_report_header(config: pytest.Config) -> str:
    """Say which tests the default run leaves out."""
    return f"tests run: those {config.option.markexpr or 'of every kind'} (see markers in pyproject.toml)"


@pytest.fixture
def settings(tmp_path: Path) -> Resolve:
    """Resolve settings: ``settings("--cpu", file="...", environ={...})``; the file's text is written first."""
    from accel_config import CATALOGUE, layers, resolve, split

    def make(*flags: str, file: str | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        words = list(flags)
        if file is not None:
            path = tmp_path / "config.yaml"
            path.write_text(file)
            words = ["--config_file", str(path), *words]
        typed = split(CATALOGUE, words)
        assert not typed.script, f"these words aren't flags: {typed.script}"
        found = layers(CATALOGUE, typed, {"HF_HOME": str(tmp_path / "nowhere"), **(environ or {})})
        return resolve(CATALOGUE, found.values, found.notes)

    return make


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment for a launched process: ours, without what would set anything, and with an empty home."""
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("ACCELERATE_", "FSDP_", "OMP_", "MASTER_", "PET_", "SLURM_", "TORCHELASTIC_"))
        and name
        not in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "CUDA_VISIBLE_DEVICES", "COLUMNS", "LINES")
    }
    return {**kept, "HF_HOME": str(tmp_path / "hf"), "XDG_STATE_HOME": f"{tmp_path}.state"}


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def accelerate(environ: dict[str, str], tmp_path: Path) -> Run:
    """Run ``accelerate`` to its end, as a user would: ``accelerate("launch", "x.py", env={...})``."""

    def run(
        *words: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 60,
        text: str = "",
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "accelerate", *words],
            env={**environ, **(env or {})},
            cwd=cwd or tmp_path,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Write a script to launch and return its path."""
    written = 0

    def write(source: str, name: str = "") -> Path:
        nonlocal written
        written += 1
        path = tmp_path / (name or f"script{written}.py")
        path.write_text(source)
        return path

    return write


def lines(text: str) -> Sequence[str]:
    """The lines of a text in order of the alphabet, for what ranks print in any order."""
    return sorted(text.splitlines())


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of every package, and the wheel that is built from it."""
    from tests.environments import UV, uv

    if UV is None:
        pytest.skip("uv isn't on PATH: packages can't be built")
    return once(tmp_path_factory, "built", lambda to: uv("build", "--all-packages", "--out-dir", to, "--quiet"))


@pytest.fixture(scope="session", autouse=True)
def usual_signals() -> None:
    """Launches start as from a terminal, though a shell that put the tests in the background has SIGINT ignored."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
