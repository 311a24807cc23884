"""Whatever is killed, stopped or cut off in a run of `--hosts`, nothing of it is left on any machine within 30 s."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from accel_launch.hosts import ssh
from tests.launch.machines import Network
from tests.launch.processes import until
from tests.launch.user import User, without_torch

pytestmark = [pytest.mark.machines, pytest.mark.timeout(400)]

RANKS = "import os, time\nprint('up', os.getpid(), flush=True)\nwhile True:\n    time.sleep(0.1)\n"
# Takes every connection, and says nothing.
SILENT = """
import socket
server = socket.create_server(("", 2222))
taken = []
print("up", flush=True)
while True:
    taken.append(server.accept())
"""
WITHIN = 30.0
SLOW = 20.0  # seconds more that a busy machine may take


class Started:
    """A run on machines 1 and 2 with torch's stand-in, or on machine 1 alone, and all of its processes."""

    def __init__(self, user: User, name: str, words: tuple[str, ...]) -> None:
        """Start it."""
        user.folder.mkdir()
        self.user, self.name = user, name
        self.launch = user.start(*words)
        self.all: dict[int, psutil.Process] = {}

    @property
    def up(self) -> bool:
        """Whether both ranks are up, or it has ended."""
        return self.user.out.count("up") == 2 or self.launch.poll() is not None

    def look(self) -> None:
        """Find its processes from its ranks upwards, and from its launcher downwards."""
        self.near = psutil.Process(self.launch.pid)
        self.sshs = self.near.children(recursive=True)
        self.ranks = [psutil.Process(int(line.split()[1])) for line in self.user.out.splitlines()]
        ways = [rank.parents() for rank in self.ranks]
        self.fars = [[one for one in way if "hosts.machine" in " ".join(one.cmdline())][-1] for way in ways]
        self.sessions = [far.parents()[0] for far in self.fars]
        # The guardian is a fork of the launcher, with the same command line.
        below = [one for far in self.fars for one in far.children(recursive=True)]
        self.guardians = [one for one in below if one.name() == "accel-guardian"]
        self.agents = [one for one in below if "torch.distributed.run" in " ".join(one.cmdline())]
        self.parents = [way[0] for way in ways]
        found = [self.near, *self.sshs, *self.fars, *below]
        self.all = {one.pid: one for one in found}

    @property
    def left(self) -> list[psutil.Process]:
        """What of it still runs."""
        return [one for one in self.all.values() if runs(one)]


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


Doing = Callable[[Started], object]


def stopped(find: Callable[[Started], psutil.Process], then: Doing | None = None) -> Doing:
    """Stop a process, and do something else afterwards."""

    def do(run: Started) -> None:
        find(run).send_signal(signal.SIGSTOP)
        if then is not None:
            then(run)

    return do


def near_is_killed(run: Started) -> None:
    run.near.kill()


ONE, TWO = ("--hosts", "n1*2"), ("--hosts", "n[1-2]", "--nproc_per_node", "1")
WAYS: dict[str, tuple[tuple[str, ...], Doing]] = {
    "an ssh": (TWO, lambda run: run.sshs[1].kill()),
    "the only ssh": (ONE, lambda run: run.sshs[0].kill()),
    "this launcher": (ONE, near_is_killed),
    "the terminal": (ONE, lambda run: run.near.send_signal(signal.SIGHUP)),
    "a launcher there": (TWO, lambda run: run.fars[0].kill()),
    "the only launcher there": (ONE, lambda run: run.fars[0].kill()),
    "a guardian": (TWO, lambda run: run.guardians[1].kill()),
    "the agent": (TWO, lambda run: run.agents[0].kill()),
    "a rank's parent": (TWO, lambda run: run.parents[1].kill()),
    "a rank": (ONE, lambda run: run.ranks[0].kill()),
    "sshd": (TWO, lambda run: run.sessions[1].kill()),
    "the launcher and the guardian there": (ONE, lambda run: (run.fars[0].kill(), run.guardians[0].kill())),
    "ssh is stopped": (ONE, stopped(lambda run: run.sshs[0])),
    "one ssh is stopped": (TWO, stopped(lambda run: run.sshs[0])),
    "sshd is stopped": (ONE, stopped(lambda run: run.sessions[0])),
    "a launcher there is stopped": (ONE, stopped(lambda run: run.fars[0])),
    "one launcher there is stopped": (TWO, stopped(lambda run: run.fars[1])),
    "the guardian is stopped, this launcher killed": (ONE, stopped(lambda run: run.guardians[0], near_is_killed)),
    "the agent is stopped, this launcher killed": (TWO, stopped(lambda run: run.agents[0], near_is_killed)),
    "a parent is stopped, this launcher killed": (TWO, stopped(lambda run: run.parents[1], near_is_killed)),
    "a launcher there is stopped, ssh killed": (
        ONE,
        stopped(lambda run: run.fars[0], lambda run: run.sshs[0].kill()),
    ),
    "this launcher is stopped": (ONE, stopped(lambda run: run.near)),
}

TOLD = {
    "a guardian": "guardian process was terminated by SIGKILL",
    "the agent": "torchrun was killed",
    "a rank's parent": "torchrun failed, but none of its ranks did",
    "the terminal": "terminated by SIGHUP",
}
"""What the one report says where it isn't about a rank or a machine."""


@pytest.fixture
def start(network: Network, user: User, environ: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Started]]:
    script = tmp_path / "train.py"
    script.write_text(RANKS)
    own = (*without_torch(tmp_path), str(script))
    made: list[Started] = []

    def begin(name: str, words: tuple[str, ...]) -> Started:
        made.append(Started(User(network, user.ssh, environ, tmp_path / f"run{len(made)}"), name, (*words, *own)))
        return made[-1]

    yield begin
    for run in made:
        user.started += run.user.started
        for process in run.all.values():
            if runs(process):
                process.send_signal(signal.SIGCONT)
                process.kill()


def test_whatever_is_killed_or_stopped_nothing_is_left(user: User, start: Callable[..., Started]) -> None:
    runs_ = {name: start(name, words) for name, (words, _do) in WAYS.items()}
    for run in runs_.values():
        assert until(lambda run=run: run.up, 200), run.user.err
        run.look()
    for name, (_words, do) in WAYS.items():
        do(runs_[name])
    began = time.monotonic()
    halted = runs_["this launcher is stopped"]
    took: dict[str, float] = {}

    def left(run: Started) -> list[psutil.Process]:
        return [one for one in run.left if run is not halted or one not in (run.near, *run.sshs)]

    def over() -> bool:
        time.sleep(0.3)  # so many processes are many files to read
        for name, run in runs_.items():
            if name not in took and not left(run):
                took[name] = time.monotonic() - began
        return len(took) == len(runs_)

    until(over, WITHIN + SLOW)
    sys.stderr.write("".join(f"{name}: {seconds:.1f} s\n" for name, seconds in took.items()))
    assert not {name: [one.cmdline() for one in left(run)] for name, run in runs_.items() if left(run)}
    halted.near.send_signal(signal.SIGCONT)
    for name, run in runs_.items():
        for session in filter(runs, run.sessions):
            session.send_signal(signal.SIGCONT)
        assert run.launch.wait(40) != 0, name
        told = TOLD.get(name, "" if "this launcher" in name else "failed first")
        assert not told or run.user.err.count(told) == 1, f"{name}: {run.user.err}"
    assert "this launcher was stopped, or this machine slept" in halted.user.err
    assert "machine 0 is lost: silent for 15 s" in runs_["ssh is stopped"].user.err
    assert user.nothing_left(30)


def test_killed_while_machines_get_ready(user: User, start: Callable[..., Started], network: Network) -> None:
    """The launcher is killed at several moments before the ranks start; a host that says nothing is given up."""
    words = ["ip", "netns", "exec", network.space(1), sys.executable, "-c", SILENT]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as silent:
        assert silent.stdout is not None
        silent.stdout.readline()
        hanging = start("hanging", ("--hosts", "n1:2222,n2", "--nproc_per_node", "1"))
        began = time.monotonic()
        for place, moment in enumerate((0.3, 0.6, 0.9, 1.2)):
            run = start(f"early {place}", (*TWO, "--check_network"))
            time.sleep(moment)
            run.launch.kill()
        assert hanging.launch.wait(60) == 2
        assert time.monotonic() - began < 15 + SLOW
        assert "n1:2222: it can't be reached (" in hanging.user.err
        silent.kill()
    assert user.nothing_left(WITHIN)


def test_killed_before_the_machines_have_met(user: User, start: Callable[..., Started]) -> None:
    """The other machine can't learn of it from the launcher that is gone."""
    run = start("young", (*TWO, "--lifeline_timeout", "60"))
    assert until(lambda: "accel: 2 hosts (" in run.user.err, 60)
    for one in user.on(2):
        with suppress(psutil.NoSuchProcess):
            if one.cmdline()[1:] == ["-P", "-m", "accel_launch.hosts.machine"]:
                one.kill()
    began = time.monotonic()
    assert run.launch.wait(60) == 1
    assert time.monotonic() - began < 12
    assert "machine 1 (host n2) failed first" in run.user.err
    assert user.nothing_left(WITHIN)


def test_a_cable_is_pulled_while_ranks_run_and_while_machines_get_ready(
    user: User, start: Callable[..., Started], network: Network, tmp_path: Path
) -> None:
    """One machine is slow, so the other's launcher waits for orders. Or this launcher is stopped meanwhile."""
    running = start("cable", TWO)
    assert until(lambda: running.up, 100), running.user.err
    running.look()
    hold = tmp_path / "hold"
    hold.touch()

    def waits(n: int) -> tuple[Started, psutil.Process]:
        python = user.python(**{f"n{3 - n}": f"while [ -e {hold} ]; do sleep 0.2; done"})
        before = set(user.on(n))
        run = start(f"{3 - n} is slow", (*TWO, "--python", str(python)))
        found: list[psutil.Process] = []

        def there() -> bool:
            with suppress(psutil.NoSuchProcess):
                new = set(user.on(n)) - before
                found[:] = [one for one in new if one.cmdline()[1:] == ["-P", "-m", "accel_launch.hosts.machine"]]
            return bool(found)

        assert until(there, 60), run.user.err
        return run, found[0]

    halted, one = waits(1)
    psutil.Process(halted.launch.pid).suspend()
    cut, other = waits(2)
    reader, writer = os.pipe()
    words = [ssh.launcher(sys.executable, carried=carried) for carried in (False, True)]
    fars = [subprocess.Popen(one, stdin=reader) for one in words]
    time.sleep(2)  # by then it has said that it is ready
    network.cut(2)
    assert until(lambda: not runs(one) and not runs(other), WITHIN + SLOW)
    assert cut.launch.wait(WITHIN + SLOW) == 2
    assert "n2: it can't be reached (" in cut.user.err
    _ends_everywhere(running, "machine 1 (host n2)")
    assert [far.wait(WITHIN + SLOW) for far in fars] == [1, -signal.SIGALRM]  # whom nothing has ever reached
    os.close(reader)
    os.close(writer)
    psutil.Process(halted.launch.pid).resume()
    assert halted.launch.wait(WITHIN + SLOW) == 2
    hold.unlink()
    network.mend(2)
    assert user.nothing_left(WITHIN)


def test_the_cable_of_this_machine_is_pulled(user: User, start: Callable[..., Started], network: Network) -> None:
    run = start("cable", TWO)
    assert until(lambda: run.up, 100), run.user.err
    run.look()
    network.cut(0)
    _ends_everywhere(run)
    network.mend(0)
    assert user.nothing_left(WITHIN)


def _ends_everywhere(run: Started, lost: str = "") -> None:
    """Without a machine that is lost, nobody is blamed."""
    assert until(lambda: not run.left, WITHIN + SLOW), [one.cmdline() for one in run.left]
    assert run.launch.wait(10) == 1
    said = f"{lost} failed first" if lost else "accel: no other machine answers"
    assert (run.user.err.count(said), run.user.err.count("failed first")) == (1, bool(lost)), run.user.err
