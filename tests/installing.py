"""A copy of the repository as somebody clones it, and fresh environments to install from it."""

from __future__ import annotations

import ensurepip
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.environments import uv
from tests.schedule import once


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's files that installing needs."""
    return once(tmp_path_factory, "clone", copy)


def copy(folder: Path) -> None:
    """Copy what a clone has, as far as installing reads it, and make it a repository of git."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    shutil.copytree(ROOT / "packages", folder / "packages", ignore=unwanted)
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, folder)
    who = ("-c", "user.name=me", "-c", "user.email=me@localhost")
    for words in (("init", "-q"), ("add", "-A"), (*who, "commit", "-q", "-m", "a clone")):
        subprocess.run(["git", *words], cwd=folder, check=True, timeout=60)


class Environment:
    """A virtual environment, with pip or without, and what is typed where it is activated."""

    def __init__(self, folder: Path, *, pip: bool) -> None:
        uv("venv", "--quiet", "--no-project", "--python", sys.executable, folder)
        if pip:  # the very pip of `python -m venv`, which takes seconds to unpack it
            (wheel,) = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
            uv("pip", "install", "--quiet", "--python", folder / "bin" / "python", wheel)
        self.bin = folder / "bin"
        self.environ = {**os.environ, "VIRTUAL_ENV": str(folder), "PATH": f"{self.bin}:{os.environ['PATH']}"}
        self.environ["PIP_NO_COMPILE"] = "1"  # pip would compile what it only builds with, once for each package
        self.environ.pop("PYTHONPATH", None)

    def type(self, line: str, folder: Path | None = None) -> str:
        """Run a line as a reader would; return what it printed."""
        done = subprocess.run(
            ["bash", "-c", line], cwd=folder, env=self.environ, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def hint(self, requirement: str) -> str:
        """What a message of ours says to type."""
        code = f"from accel_config.showing.installing import command; print(command({requirement!r}))"
        return self.type(f"{self.bin}/python -c {shlex.quote(code)}").strip()

    def has(self, distribution: str) -> bool:
        code = f"from importlib.metadata import distributions as d; print({distribution!r} in [x.name for x in d()])"
        return self.type(f"{self.bin}/python -c {shlex.quote(code)}").strip() == "True"
