"""The Pythons of this machine that packages have to work on; `python -m tests.interpreters` prints them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.environments import UV

VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def find(version: str) -> Path | None:
    """Return an interpreter of this version that is on the machine; none is fetched."""
    return next((path for path in (*_known_to_uv(version), *_of_pyenv(version)) if _is(path, version)), None)


def _known_to_uv(version: str) -> list[Path]:
    if UV is None:
        return []
    done = subprocess.run(
        [UV, "python", "find", "--no-project", "--system", "--no-python-downloads", version],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [Path(done.stdout.strip())] if done.returncode == 0 else []


def _of_pyenv(version: str) -> list[Path]:
    """Return what pyenv has: uv sees of it only the version that is switched on."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    return sorted(versions.glob(f"{version}.*/bin/python{version}"))


def _is(path: Path, version: str) -> bool:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=60)
    return done.stdout.strip() == version


if __name__ == "__main__":
    for wanted in VERSIONS:
        print(f"Python {wanted}: {find(wanted) or 'not on this machine'}")
