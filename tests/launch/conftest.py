"""Launches that are watched: whatever one leaves behind fails its test."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch import slurm as cluster
from tests.launch.machines import Network
from tests.launch.processes import Start, close, marked, start, until


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a script and a hostfile."""
    (tmp_path / "train.py").touch()
    (tmp_path / "hosts").write_text("node-1 slots=2\nnode-2 slots=2\n")
    return tmp_path


@pytest.fixture
def mark(environ: dict[str, str]) -> str:
    """A mark in the environment of everything that this test launches."""
    found = f"ACCEL_TEST_MARK={uuid.uuid4().hex}"
    name, _, text = found.partition("=")
    environ[name] = text
    return found


@pytest.fixture
def launched(environ: dict[str, str], mark: str) -> Iterator[Start]:
    """Start a launch that the test signals; at the end nothing of it may be left."""
    started: list[subprocess.Popen[str]] = []

    def launch(*words: object, stdin: int | None = None, new_session: bool = False) -> subprocess.Popen[str]:
        started.append(start(words, environ, stdin, new_session))
        return started[-1]

    yield launch
    for popen in started:
        close(popen)
    assert until(lambda: not marked(mark), 10), f"left running: {marked(mark)}"


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster.Slurm]:
    """A Slurm of two nodes, for all tests that need one."""
    with cluster.started(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Three machines on a network, for the tests of a module."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and the program ip, to make network namespaces")
    made = Network(3)
    try:
        made.open()
    except OSError as error:
        made.close()
        pytest.skip(f"network namespaces can't be made here: {error}")
    yield made
    made.close()
