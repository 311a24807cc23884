"""Signals on their way to the ranks, while ranks end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from accel_launch.machine import process_tree
from accel_launch.running.guardian.forwarding import Forwarder

# A line on standard input is what the others' answer is to a real rank; then it drops its handler, as an interpreter
# does that ends.
RANK = """\
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"got it\\n"))
os.write(1, b"ready\\n")
if sys.stdin.readline():
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    os.write(1, b"ending\\n")
sys.stdin.readline()
sys.exit(75)
"""


@pytest.fixture
def ranks() -> Iterator[list[subprocess.Popen[str]]]:
    """Three ranks that handle SIGUSR1."""
    words = [sys.executable, "-c", RANK]
    started = [subprocess.Popen(words, stdin=-1, stdout=-1, text=True, bufsize=1) for _rank in range(3)]
    try:
        for rank in started:
            assert rank.stdout is not None
            assert rank.stdout.readline() == "ready\n"
        yield started
    finally:
        for rank in started:
            rank.kill()
            rank.communicate()


@pytest.mark.parametrize("engine", [False, True], ids=["ours", "engine"])
def test_a_rank_that_ends_as_another_has_the_signal_already_is_not_killed_by_it(
    ranks: list[subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: bool
) -> None:
    first, second, third = ranks

    def meanwhile() -> None:
        """The first rank tells the second before it is its turn."""
        if second.stdin is not None and second.stdout is not None and not told:
            told.append(True)
            second.stdin.write("end\n")
            assert second.stdout.readline() == "ending\n"

    def send(pid: int, number: int) -> None:
        os.kill(pid, number)
        meanwhile()

    def send_to(pid: int, _facts: object, number: int) -> None:
        send(pid, number)

    told: list[bool] = []
    record = None
    if engine:
        path = tmp_path / "record"
        path.write_text("".join(f"started {i} {i} {rank.pid} {rank.pid} -\n" for i, rank in enumerate(ranks)))
        record = os.open(path, os.O_RDONLY)
        monkeypatch.setattr(process_tree, "send_to", send_to)
    children: Any = SimpleNamespace(
        fork_server=None, ranks={rank.pid: i for i, rank in enumerate(ranks)}, below={}, send=send
    )
    Forwarder(children, record).pass_on(signal.SIGUSR1)
    assert told
    for rank, got in ((first, "got it\n"), (second, ""), (third, "got it\n")):
        assert rank.communicate(timeout=20)[0] == got
        assert rank.returncode == 75
    if record is not None:
        os.close(record)
