"""What a run leaves: nothing of its own, but what a script leaves on purpose; and what isn't its own, untouched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import BIN
from tests.launch.processes import Script, Start, alive, gone, guardian_of, marked, read_pids, until

N2 = ("--cpu", "--num_processes", "2")
N1 = ("--cpu", "--num_processes", "1", "--engine", "local")
ME = "import os, signal, subprocess, sys, time\nrank = os.environ.get('RANK', '-')\n"
SLEEP = ME + "os.write(1, b'%d\\n' % os.getpid())\ntime.sleep(60)\n"
# A service with a child, and an orphan that it makes once the launcher is there.
SERVICE = (
    "import os, subprocess, sys, time\n"
    "quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
    "child = subprocess.Popen(['sleep', '60'], **quiet)\n"
    "print(os.getpid(), child.pid, flush=True)\n"
    "sys.stdin.readline()\n"
    "pid = os.fork()\n"
    "if pid == 0:\n"
    "    print(subprocess.Popen(['sleep', '60'], **quiet).pid, flush=True)\n"
    "    os._exit(0)\n"
    "os.waitpid(pid, 0)\n"
    "time.sleep(60)\n"
)


LAUNCH = (str(BIN / "accelerate"), "launch")


class Strangers:
    """A launch in a process that has a service already: ``service & exec accelerate launch``."""

    def __init__(self, words: tuple[object, ...], environ: dict[str, str]) -> None:
        tell, self.tells = os.pipe()
        hears, hear = os.pipe()
        begin = '"$1" -c "$2" <&"$3" >&"$4" 2>&"$4" & shift 4; exec "$@"'
        self.popen = subprocess.Popen(
            ["bash", "-c", begin, "sh", sys.executable, SERVICE, str(tell), str(hear), *LAUNCH, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
            pass_fds=(tell, hear),
        )
        os.close(tell)
        os.close(hear)
        self.hears = os.fdopen(hears)
        self.pids = [*map(int, self.hears.readline().split())]

    def make_orphan(self) -> None:
        os.write(self.tells, b"\n")
        self.pids.append(int(self.hears.readline()))

    def close(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate()
        os.close(self.tells)
        self.hears.close()


@pytest.fixture
def strangers(script: Script, environ: dict[str, str], mark: str) -> Iterator[Strangers]:
    found = Strangers((*N2, "--grace", "1", script(SLEEP)), environ)
    yield found
    found.close()


@pytest.mark.parametrize("end", ["interrupted", "guardian killed", "keeper killed", "launcher killed"])
def test_what_the_launcher_did_not_start_is_left_alone(strangers: Strangers, mark: str, end: str) -> None:
    ranks = read_pids(strangers.popen, 2)
    strangers.make_orphan()
    service, child, orphan = strangers.pids
    launcher = psutil.Process(strangers.popen.pid)
    guardian = next(one for one in launcher.children(recursive=True) if one.name() == "accel-guardian")
    keeper = guardian.parent() or launcher
    {
        "interrupted": launcher.terminate,
        "guardian killed": guardian.kill,
        "keeper killed": keeper.kill,
        "launcher killed": launcher.kill,
    }[end]()
    if end == "keeper killed":
        time.sleep(0.3)
        assert alive(ranks) == ranks
        launcher.terminate()
    assert strangers.popen.wait(20) == {"guardian killed": 137, "launcher killed": -9}.get(end, -signal.SIGTERM)
    assert gone([*ranks, keeper.pid, guardian.pid])
    assert alive([service, child, orphan]) == [service, child, orphan]
    assert until(lambda: set(marked(mark)) == {service, child, orphan})


def test_a_killed_guardian_leaves_nothing_beside_a_service(script: Script, environ: dict[str, str]) -> None:
    """What a rank has put into a session of its own is adopted by the keeper, and goes."""
    path = script(
        ME + "away = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "os.write(1, b'%d\\n' % away.pid)\ntime.sleep(60)\n"
    )
    other = Strangers((*N2, path), environ)
    away = read_pids(other.popen, 2)
    children = psutil.Process(other.popen.pid).children()
    (keeper,) = [one for one in children if one.pid not in other.pids]
    keeper.children()[0].kill()
    assert other.popen.wait(20) == 137
    assert gone(away)
    other.close()


DAEMON = (
    "away = subprocess.Popen(['sleep', '60'], start_new_session={session}, env={{**os.environ, {variable}}},\n"
    "    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
    "time.sleep(0.2)  # until it is that program\n"
    "os.write(1, b'%d %d\\n' % (os.getpid(), away.pid))\n"
)
ASKS = DAEMON.format(session=True, variable="'ACCEL_DAEMON': '1'")


def _daemon(popen: subprocess.Popen[str]) -> int:
    assert popen.stdout is not None
    return int(popen.stdout.readline().split()[1])


@pytest.mark.parametrize("end", ["success", "failure", "signal", "two signals", "launcher killed", "guardian killed"])
def test_a_daemon_that_asks_to_stay_stays(script: Script, environ: dict[str, str], end: str) -> None:
    rest = {"success": "time.sleep(1)\n", "failure": "time.sleep(1)\nsys.exit(3)\n"}.get(
        end, "signal.signal(15, signal.SIG_IGN)\ntime.sleep(60)\n"
    )
    popen = subprocess.Popen(
        [BIN / "accelerate", "launch", "-q", *N1, "--grace", "1", script(ME + ASKS + rest)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )
    daemon = _daemon(popen)
    guardian = guardian_of(popen.pid)
    for number in {"signal": [15], "two signals": [15, 15], "launcher killed": [9]}.get(end, []):
        popen.send_signal(number)
        time.sleep(0.1)
    if end == "guardian killed":
        guardian.kill()
    _out, err = popen.communicate(timeout=20)
    want = {"success": 0, "failure": 3, "launcher killed": -9, "guardian killed": 137}.get(end, -15)
    assert popen.returncode == want
    assert gone([guardian.pid])
    assert "left running" not in err
    assert alive([daemon]) == [daemon]
    os.kill(daemon, signal.SIGKILL)


@pytest.mark.parametrize(
    ("session", "variable", "outside"),
    [(False, "'ACCEL_DAEMON': '1'", ""), (True, "'ACCEL_DAEMON': '0'", ""), (True, "", ""), (True, "", "1")],
    ids=["same session", "another value", "not asked", "only the launcher's own environment asks"],
)
def test_what_does_not_ask_goes(
    launched: Start, script: Script, environ: dict[str, str], session: bool, variable: str, outside: str
) -> None:
    if outside:
        environ["ACCEL_DAEMON"] = outside
    running = launched(*N1, script(ME + DAEMON.format(session=session, variable=variable) + "sys.exit(3)\n"))
    left = _daemon(running)
    assert running.wait(20) == 3
    assert gone([left], 1)


@pytest.mark.exhaustive
def test_what_is_below_a_daemon_stays_and_what_is_beside_it_goes(script: Script, environ: dict[str, str]) -> None:
    """Also under an engine; a daemon's own child carries no variable any more."""
    pytest.importorskip("torch")
    daemon = "env -u ACCEL_DAEMON sleep 61 >&- & echo $!; exec >&-; wait"
    path = script(
        ME + f"words = ['sh', '-c', {daemon!r}]\n"
        "away = subprocess.Popen(words, start_new_session=True, env={**os.environ, 'ACCEL_DAEMON': '1'},\n"
        "    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)\n"
        "beside = subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=2)\n"
        "print(away.pid, away.stdout.read().strip(), beside.pid, flush=True)\nsys.exit(3)\n"
    )
    done = subprocess.run(
        [BIN / "accelerate", "launch", "--cpu", "--num_processes", "1", "--engine", "torchrun", path],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3, done.stderr
    told = [[*map(int, line.split())] for line in done.stdout.splitlines()]
    for daemon_pid, below, beside in told:
        assert alive([daemon_pid, below]) == [daemon_pid, below]
        assert gone([beside])
        os.kill(daemon_pid, signal.SIGKILL)
        os.kill(below, signal.SIGKILL)
    assert told


def _as_pid_1(*words: object, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a shell's command as the first process of a container."""
    probe = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"no pid namespace can be made here: {probe.stderr.strip()}")
    alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return subprocess.run([*alone, *map(str, words)], env=environ, capture_output=True, text=True, timeout=60)


ORPHANS = "for n in 1 2 3 4 5 6 7 8; do (sleep 0.1 &); done; sleep 60"
COUNT = (
    ME + "import psutil\ntime.sleep(1)\n"
    "dead = [one for one in psutil.process_iter() if one.status() == psutil.STATUS_ZOMBIE and one.ppid() == 1]\n"
    "print(len(dead), psutil.Process(1).cmdline()[1:2], flush=True)\n"
)


@pytest.mark.parametrize("way", ["supervisor", "parent"])
def test_as_pid_1_orphans_are_collected_as_they_come(script: Script, environ: dict[str, str], way: str) -> None:
    from accel_launch.engines.common.wrapping import PARENT

    path: Path = script(COUNT)
    command = {
        "supervisor": f"{BIN / 'accelerate'} launch -q --cpu --num_processes 2 {path}",
        "parent": f"{sys.executable} -I -S {PARENT} {sys.executable} {path}",
    }[way]
    done = _as_pid_1("sh", "-c", f"sh -c '{ORPHANS}' >/dev/null 2>&1 & exec {command}", environ=environ)
    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"0"}, done.stdout


def test_as_pid_1_our_own_forks_are_collected_by_who_made_them(script: Script, environ: dict[str, str]) -> None:
    """Those that answer questions end by themselves; who collects strangers must leave them."""
    ask = f"subprocess.run([{str(BIN / 'accelerate')!r}, 'stacks']).returncode"
    path = script(
        "import os, subprocess, time\nif os.environ['RANK'] == '0':\n"
        f"    while {ask}: time.sleep(0.1)\n"  # the launcher may not listen yet
        f"    time.sleep(0.3)\n    assert {ask} == 0\n"
    )
    done = _as_pid_1(BIN / "accelerate", "launch", "-q", "--cpu", "--num_processes", "2", path, environ=environ)
    assert done.returncode == 0, done.stderr
    assert "of 2 ranks" in done.stdout
    assert "Traceback" not in done.stderr
