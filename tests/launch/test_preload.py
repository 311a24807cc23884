"""Ranks that are forked from one import: they can't tell, they end as they always do, and what isn't safe is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accel_config.errors import AccelError
from accel_launch.nursery import Nursery
from tests.conftest import BIN, Resolve, Run
from tests.launch.processes import Script, Start, gone, read_pids, until

PORTRAIT = Path(__file__).parent / "portrait.py"
TWO = ("--cpu", "--num_processes", "2")
Portrait = tuple[dict[str, Any], list[object]]


# The rank can't tell.


def as_script(folder: Path) -> list[str]:
    shutil.copy(PORTRAIT, folder / "portrait.py")
    return ["portrait.py", "a b", "-x"]


def as_link(folder: Path) -> list[str]:
    (folder / "below").mkdir()
    shutil.copy(PORTRAIT, folder / "below" / "real.py")
    (folder / "link.py").symlink_to("below/real.py")
    return ["./link.py"]


def as_module(folder: Path) -> list[str]:
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").touch()
    shutil.copy(PORTRAIT, folder / "pack" / "portrait.py")
    return ["-m", "pack.portrait", "-m"]


def as_package(folder: Path) -> list[str]:
    (folder / "pack").mkdir()
    shutil.copy(PORTRAIT, folder / "pack" / "__main__.py")
    return ["-m", "pack"]


def as_folder(folder: Path) -> list[str]:
    (folder / "app").mkdir()
    shutil.copy(PORTRAIT, folder / "app" / "__main__.py")
    return ["app"]


def as_archive(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "app.zip", "w") as archive:
        archive.write(PORTRAIT, "__main__.py")
    return ["app.zip"]


def portraits(folder: Path, environ: dict[str, str], words: list[str], *flags: str, **how: Any) -> list[Portrait]:
    """What each of two ranks wrote down of itself."""
    out = folder / "out"
    out.mkdir()
    done = subprocess.run(
        [BIN / "accelerate", "launch", *TWO, *flags, *words],
        **{"input": "one\r\ntwo", "capture_output": True, "text": True, "timeout": 60, "cwd": folder, **how},
        env={**environ, "OUT": str(out)},
    )
    assert done.returncode == 0, done.stderr
    assert "not preloaded" not in (done.stderr or "")
    found = [json.loads((out / str(rank)).read_text()) for rank in range(2)]
    shutil.rmtree(out)
    return [(whole, drawn) for whole, drawn, _pid in found]


def assert_same(plain: list[Portrait], preloaded: list[Portrait]) -> None:
    for rank in range(2):
        for part, seen in plain[rank][0].items():
            assert preloaded[rank][0][part] == seen, (rank, part)
    drawn = [number for _whole, numbers in preloaded for number in numbers]
    assert len(set(map(str, drawn))) == len(drawn), "ranks share random numbers"


@pytest.mark.parametrize("shape", [as_script, as_link, as_module, as_package, as_folder, as_archive])
def test_a_rank_cannot_tell(tmp_path: Path, environ: dict[str, str], shape: Callable[[Path], list[str]]) -> None:
    words = shape(tmp_path)
    plain = portraits(tmp_path, environ, words)
    assert_same(plain, portraits(tmp_path, environ, words, "--preload", "numpy,logging,colorsys"))


@pytest.mark.parametrize(
    "told",
    [
        {"PYTHONIOENCODING": "latin-1:replace", "PYTHONPATH": "below:", "PYTHONHASHSEED": "1"},
        {"PYTHONWARNINGS": "ignore::FutureWarning", "PYTHONSAFEPATH": "1", "PYTHONFAULTHANDLER": "1"},
        {"PYTHONUTF8": "1", "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONTRACEMALLOC": "1", "LC_ALL": "C"},
        {"METHODS": "fork,forkserver,spawn"},
    ],
    ids=lambda told: " ".join(told),
)
def test_whatever_python_is_told(tmp_path: Path, environ: dict[str, str], told: dict[str, str]) -> None:
    words = as_script(tmp_path)
    environ.update(told)
    plain = portraits(tmp_path, environ, words)
    assert_same(plain, portraits(tmp_path, environ, words, "--preload", "numpy"))
