"""Trees of processes, whatever the processes are called."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from accel_launch import ranks
from accel_launch.machine import process_tree
from tests.launch.processes import alive, until

NAMED = "import subprocess, time; open('/proc/self/comm', 'w').write('a) 1 1 (b'); print(flush=True); time.sleep(60)"


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a strange name, below a shell."""
    with subprocess.Popen(["sh", "-c", '"$0" -c "$1"; :', sys.executable, NAMED], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        yield running
        for pid in [*process_tree.descendants(running.pid), running.pid]:
            process_tree.send(pid, 9)


def test_descendants_are_found_whatever_their_name(parent: subprocess.Popen[bytes]) -> None:
    (child,) = process_tree.descendants(parent.pid)
    assert process_tree.children(parent.pid) == [child]
    assert {parent.pid, child} <= set(process_tree.descendants(os.getpid()))


def test_a_title_is_short(parent: subprocess.Popen[bytes]) -> None:
    (child,) = process_tree.descendants(parent.pid)
    assert process_tree.title(child) == f"{sys.executable} -c {NAMED}"[:57] + "..."
    assert process_tree.title(1 << 30) == "?"


def test_a_tree_is_ended_but_for_daemons() -> None:
    """One that asks to stay, in another session than the ranks'; and what is below it."""
    code = "exec >&2; setsid env ACCEL_DAEMON=1 sh -c 'sleep 60; :' & sleep 60; :"
    with subprocess.Popen(["sh", "-c", code], stderr=subprocess.DEVNULL, start_new_session=True) as running:
        # the daemon, what is below it, and another: until all are there, one may count that will be the daemon
        assert until(lambda: len(process_tree.descendants(running.pid)) == 3)
        assert until(lambda: len(process_tree.descendants(running.pid, running.pid)) == 1)
        every = set(process_tree.descendants(running.pid))
        (other,) = process_tree.descendants(running.pid, running.pid)
        process_tree.kill_tree(running.pid, lambda: True, session=running.pid)
        assert until(lambda: not alive([other]))
        assert set(alive([*every])) == every - {other}
        for pid in every - {other}:
            process_tree.send(pid, 9)


def test_a_signal_never_goes_to_a_later_process_of_the_pid(parent: subprocess.Popen[bytes]) -> None:
    ((child, facts),) = process_tree.descendants(parent.pid).items()
    process_tree.send_to(child, (*facts[:2], facts[2] - 1), 9)
    assert not until(lambda: not alive([child]), 0.2)
    process_tree.send_to(child, facts, 9)
    assert until(lambda: not alive([child]))
    process_tree.send_to(1 << 30, facts, 9)


COLLECTED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import parent
child = os.fork()
if child == 0:
    os._exit(7)
program = parent.Program(child, parent.Lines("", "0 0", "-"), None)
signal.signal(signal.SIGUSR1, program.pass_on)
wait, kill = os.waitpid, os.kill
def late(*words):
    found = wait(*words)
    kill(os.getpid(), signal.SIGUSR1)
    return found
os.waitpid, os.kill = late, lambda pid, number: number and print("sent", pid == child, number)
print(os.waitstatus_to_exitcode(program.wait()))
"""


def test_a_signal_that_comes_late_goes_to_no_pid_that_was_collected() -> None:
    folder = Path(ranks.__file__).parent
    done = subprocess.run([sys.executable, "-c", COLLECTED, folder], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_whose_parent_has_died_already_dies_too() -> None:
    code = "from accel_launch.ranks.system.prctl import die_with; die_with(1 << 30); print('lives')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (137, "")
