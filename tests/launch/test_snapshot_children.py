"""What a snapshot says of the processes below a rank."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from accel_launch.inspecting import report
from accel_launch.inspecting.snapshot import Snapshot, take
from accel_launch.inspecting.subject import Subject
from tests.launch.processes import until

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@contextmanager
def started(path: Path, text: str) -> Generator[int]:
    """Run a script that prints a line, in a session of its own, which is killed at the end."""
    path.write_text(text)
    with subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, start_new_session=True) as running:
        try:
            if running.stdout is not None:
                running.stdout.readline()
            yield running.pid
        finally:
            os.killpg(running.pid, 9)


ZOMBIE = "import os, time\nos.posix_spawn('/bin/true', ['true'], {})\nprint(flush=True)\ntime.sleep(100)\n"


def test_a_zombie_has_no_stack_to_read(tmp_path: Path) -> None:
    with started(tmp_path / "train.py", ZOMBIE) as pid:
        found: list[Snapshot] = []

        def ended() -> bool:
            found[:] = [take([Subject(0, 0, pid)], children=True)]
            return [child.facts.state for child in found[0].ranks[0].children] == ["Z"]

        assert until(ended), found
    (child,) = found[0].ranks[0].children
    assert (child.threads, child.unread) == ((), "")
    assert "not read" not in report.text(report.as_json(found[0]))


OTHER = "import subprocess\nprint(flush=True)\nsubprocess.run(['sleep', '1000'])\n"
PYTHON = (
    "import subprocess, sys\nif sys.argv[1:]:\n    import time\n    print(flush=True)\n    time.sleep(1000)\n"
    "subprocess.run([sys.executable, __file__, 'child'])\n"
)
WORKER = (
    "import multiprocessing, time\ndef load():\n    print(flush=True)\n    time.sleep(1000)\n"
    "process = multiprocessing.get_context('fork').Process(target=load)\nprocess.start()\nprocess.join()\n"
)
BOTH = WORKER.replace("process.join()", "import os\nos.posix_spawnp('sleep', ['sleep', '1000'], {})\nprocess.join()")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (OTHER, "child: sleep"),
        (PYTHON, "child: train.py:5 <module> > sleep"),
        (WORKER, "worker: train.py:4 load > sleep"),
        (BOTH, "worker: train.py:4 load > sleep, child: sleep"),
    ],
    ids=["another program", "Python by subprocess", "multiprocessing", "both"],
)
def test_a_worker_runs_the_users_code_and_another_program_is_a_child(tmp_path: Path, text: str, told: str) -> None:
    with started(tmp_path / "train.py", text) as pid:
        found = [""]

        def named() -> bool:
            found[0] = take([Subject(0, 0, pid)], workers=True).ranks[0].doing
            return found[0].endswith(f" > a child process, {told}")

        assert until(named, 5), found
