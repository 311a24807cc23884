"""Launches that are watched: whatever one leaves behind fails its test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.launch import slurm as cluster
from tests.launch.machines import PORT, Launch, Network
from tests.launch.processes import Start, close, marked, start, until
from tests.launch.sshd import Daemons, daemons
from tests.launch.user import User, at_work


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


@pytest.fixture(scope="module")
def ssh(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    """An ssh daemon on each machine."""
    with daemons(network, tmp_path_factory.mktemp("sshd") / "ssh") as made:
        yield made


@pytest.fixture
def user(network: Network, ssh: Daemons, environ: dict[str, str], tmp_path: Path) -> Iterator[User]:
    """Somebody who launches from machine 0; at the end nothing may be left anywhere."""
    with at_work(network, ssh, environ, tmp_path) as made:
        yield made


@pytest.fixture
def together(request: pytest.FixtureRequest, environ: dict[str, str]) -> Callable[..., tuple[Launch, ...]]:
    """Start a run on two machines, or more, in the way that is asked for: a launcher on each, or one with `--hosts`.

    ``ranks`` are those of each machine, by default an equal share. In a word, ``%m`` is the machine that is launched on.
    """
    start = request.getfixturevalue("started")

    def on(n: int, words: Iterable[object]) -> list[str]:
        return [str(word).replace("%m", str(n)) for word in words]

    def each(*words: object, machines: int = 2, ranks: Sequence[int] = ()) -> tuple[Launch, ...]:
        own = [("--nproc_per_node", count) for count in ranks] or [()] * machines
        return tuple(start(n, *own[n], *on(n, words), machines=machines) for n in range(machines))

    def hosts(*words: object, machines: int = 2, ranks: Sequence[int] = ()) -> tuple[Launch, ...]:
        own = [f"*{count}" for count in ranks] or [""] * machines
        return (start(0, *on(0, words), hosts=",".join(f"n{n}{own[n]}" for n in range(machines))),)

    if request.param == "each":
        return each
    environ.update(request.getfixturevalue("ssh").environ(environ))
    return hosts


@pytest.fixture
def started(network: Network, environ: dict[str, str], mark: str, tmp_path: Path) -> Iterator[Callable[..., Launch]]:
    """Start a launch on a machine; at the end nothing of it may be left anywhere."""
    made: list[Launch] = []
    environ["PYTHONUNBUFFERED"] = "1"

    def start(
        n: int,
        *words: object,
        machines: object = 2,
        address: str | None = None,
        rank: int | None = None,
        hosts: str | None = None,
    ) -> Launch:
        here = ("--num_machines", machines, "--machine_rank", n if rank is None else rank)
        there = ("--main_process_ip", address or network.address(0), "--main_process_port", PORT)
        if hosts is not None:
            here, there = ("--hosts", hosts), ("--env", "PYTHONUNBUFFERED", "--env", mark)
        all_words = tuple(map(str, ("--cpu", *here, *there, "--lifeline_timeout", 6, *words)))
        made.append(Launch(network, n, all_words, environ, tmp_path / f"{len(made)}.log"))
        return made[-1]

    yield start
    for n in range(network.count):
        network.mend(n)
    for launch in made:
        if launch.process.poll() is None:
            launch.process.send_signal(signal.SIGCONT)
            launch.process.kill()
            launch.process.wait(10)
    assert until(lambda: not marked(mark), 10), f"left running: {marked(mark)}"
