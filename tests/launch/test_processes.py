"""What the kernel says about processes, whatever they are called."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from accel_launch import processes
from tests.launch.processes import alive, until

NAMED = "import subprocess, time; open('/proc/self/comm', 'w').write('a) 1 1 (b'); print(flush=True); time.sleep(60)"


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a strange name, below a shell."""
    with subprocess.Popen(["sh", "-c", '"$0" -c "$1"; :', sys.executable, NAMED], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        yield running
        for pid in [*processes.descendants(running.pid), running.pid]:
            processes.tell(pid, 9)


def test_descendants_are_found_whatever_their_name(parent: subprocess.Popen[bytes]) -> None:
    (child,) = processes.descendants(parent.pid)
    assert processes.children()[parent.pid] == [child]
    assert {parent.pid, child} <= set(processes.descendants(os.getpid()))


def test_a_title_is_short(parent: subprocess.Popen[bytes]) -> None:
    (child,) = processes.descendants(parent.pid)
    assert processes.title(child) == f"{sys.executable} -c {NAMED}"[:57] + "..."
    assert processes.title(1 << 30) == "?"


def test_a_tree_is_ended_but_for_what_is_spared(parent: subprocess.Popen[bytes]) -> None:
    (child,) = processes.descendants(parent.pid)
    processes.end_tree(parent.pid, lambda: False, spare=[child])
    assert not until(lambda: len(alive([parent.pid, child])) < 2, 0.2)
    processes.end_tree(parent.pid, lambda: False)
    assert until(lambda: not alive([child]))


def test_whose_parent_has_died_already_dies_too() -> None:
    code = "from accel_launch import processes; processes.die_with(1 << 30); print('lives')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (137, "")
