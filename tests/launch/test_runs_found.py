"""Runs that are named by who stops, follows and asks them: the right one, in the right words, and once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from accel_config.errors import AccelError
from accel_launch import runs as api
from tests.conftest import BIN, Run
from tests.launch.processes import Script, Start, until
from tests.launch.test_ps import made
from tests.launch.test_runs import N2, runs, state, up
from tests.launch.test_terminal import Shown

__all__ = ["runs"]

GONE = 1 << 22  # no process has such a pid


def test_the_name_of_a_record_never_means_another_run(
    launched: Start, accelerate: Run, script: Script, runs: Path
) -> None:
    assert "no run 'q3' is running on this machine; none is (in " in accelerate("stop", "q3").stderr
    assert not [done for words in (("q3",), ()) if "py-spy" in (done := accelerate("stop", *words)).stderr]
    done = accelerate("wait", "-9")
    assert (done.returncode, "'-9' isn't a flag, and no run is named so" in done.stderr) == (2, True)
    ended = made(runs, "exp1", {"state": "ended", "status": 7, "launcher": GONE})
    made(runs, "torn", {}).joinpath("state.json").write_text("{")
    made(runs, "torn2", {"state": "ended", "status": 5})
    running = up(launched, script, "--name", "exp10")
    done = accelerate("stacks", "exp1")
    assert (done.returncode, done.stderr) == (2, "accelerate stacks: exp1 isn't running: ended (7)\n")
    for name in ("exp1", str(GONE)):
        done = accelerate("stop", name)
        assert (done.returncode, done.stdout, done.stderr) == (7, "exp1 ended: exit status 7\n", "")
    done = accelerate("wait", "", "torn2", "q3")
    assert (done.returncode, done.stdout) == (2, "torn2 ended: exit status 5\n")
    nameless, unknown = done.stderr.splitlines()
    assert nameless == "accelerate wait: '' isn't the name of a run"
    assert unknown.startswith("accelerate wait: no run 'q3' is known; known: ")
    for command in ("stop", "attach", "logs"):
        done = accelerate(command, "")
        assert (done.returncode, done.stderr) == (2, f"accelerate {command}: '' isn't the name of a run\n")
    (ended / "output").touch()
    done = accelerate("attach", "exp1")
    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr == (
        "accel: exp1 has ended; accelerate logs exp1 prints what it printed\naccel: exp1 ended: exit status 7\n"
    )
    for name in ("exp1", str(GONE)):
        assert accelerate("wait", name).stdout == "exp1 ended: exit status 7\n"
    made(runs, "signalled", {"state": "ended", "status": 143, "ended_by": 15})
    done = accelerate("stop", "signalled")
    assert (done.returncode, done.stderr) == (143, "")
    assert accelerate("report", str(GONE)).stdout.startswith("exp1: ended (7)\n")
    assert accelerate("wait", "torn").stdout == "torn ended without a status: its launcher was killed\n"
    (ended / "state.json").unlink()
    (ended / "lock").unlink()
    assert "no run 'exp1' is running on this machine; running: exp10 (pid " in accelerate("stop", "exp1").stderr
    assert "no run 'exp1' is known; known: " in accelerate("wait", "exp1").stderr
    assert running.poll() is None
    done = accelerate("stop", "q3", "torn2", "exp")
    assert (done.returncode, done.stdout) == (2, "torn2 ended: exit status 5\nexp10 ended: terminated by SIGTERM\n")


def test_a_number_is_a_pid_and_never_the_beginning_of_a_name(
    launched: Start, accelerate: Run, script: Script, runs: Path
) -> None:
    made(runs, "over", {"state": "ended", "status": 5, "launcher": GONE})
    running = up(launched, script, "--name", f"{GONE}-next")
    assert accelerate("stop", str(GONE)).stdout == "over ended: exit status 5\n"
    done = accelerate("stacks", str(GONE))
    assert (done.returncode, done.stderr) == (
        2,
        f"accelerate stacks: over (launcher {GONE}) isn't running: ended (5)\n",
    )
    assert "no run '4' is running" in accelerate("stop", "4").stderr
    assert running.poll() is None
    assert accelerate("stop", f"{GONE}-").returncode == 143


def test_a_run_whose_folder_was_removed_is_named_by_its_pid(
    runs: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", environ["XDG_STATE_HOME"])
    path = made(runs, "gone", {"state": "running"})
    words = f"launcher {os.getpid()} was removed while it ran, so no command reaches it; `kill {os.getpid()}` ends it"
    with (path / "lock").open(), subprocess.Popen(["sleep", "100"]) as below:
        shutil.rmtree(path)
        try:
            for pid in (os.getpid(), below.pid):
                with pytest.raises(AccelError, match=words):
                    api.open(pid, running=True)
        finally:
            below.kill()
    with pytest.raises(AccelError, match="no run"):
        api.open(os.getpid(), running=True)


def test_a_second_stop_leaves_the_grace(launched: Start, accelerate: Run, script: Script, runs: Path) -> None:
    """Whoever asks: the command, also after another signal, a question at the socket, a program."""
    go = runs.parent / "go"
    text = (
        "import os, signal, sys, time\nasked = []\n"
        "for number in (2, 15): signal.signal(number, lambda *_: asked.append(1))\nprint('up', flush=True)\n"
        "while not asked: time.sleep(0.01)\n"
        f"print('saving', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "print('saved', flush=True)\nsys.exit(len(asked) - 1)\n"
    )
    running = launched("-q", "--cpu", "--name", "saves", "--grace", "500", script(text))
    assert running.stdout is not None
    running.stdout.readline()
    env = {**os.environ, "XDG_STATE_HOME": str(runs.parent.parent)}
    words = [BIN / "accelerate", "stop", "saves"]
    with subprocess.Popen(words, env=env, stdout=-1, text=True) as first:
        assert running.stdout.readline() == "saving\n"
        first.send_signal(signal.SIGINT)  # which leaves the run alone
        first.communicate(timeout=60)
    for question in ({"ask": "stop"}, {"ask": "stop", "signal": 2}):
        assert asked(runs / "saves", json.dumps(question).encode())["signal"] in (2, 15)
    told = runs.parent / "told"
    with (
        told.open("w") as errors,
        subprocess.Popen([*words, "--signal", "INT"], env=env, stdout=-1, stderr=errors, text=True) as second,
    ):
        for wrong in (b"[]", b"null", b"5", b'"events"', b"[" * 50_000, b"{"):
            assert isinstance(asked(runs / "saves", wrong)["error"], str)
        assert "signal must be one of 2, 15," in asked(runs / "saves", b'{"ask": "stop", "signal": 9}')["error"]
        assert until(lambda: state(runs / "saves")["ended_by"] == signal.SIGTERM)
        assert accelerate("stop", "--signal", "SEGV").returncode == 2
        seen = until(
            lambda: "accel: waiting for saves to end; after 500 s its ranks are killed; " in told.read_text(), 60
        )
        go.touch()
        assert second.communicate(timeout=60)[0] == "saves ended: terminated by SIGTERM\n"
        assert seen
        assert told.read_text().startswith(
            "accel: a signal ends saves already: it gets no SIGINT, and is waited for\n"
        )
    assert running.stdout.read() == "saved\n"
    assert running.wait(60) == -signal.SIGTERM


def asked(record: Path, line: bytes) -> dict[str, Any]:
    """What the launcher answers to a line."""
    fd = os.open(record, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"/proc/self/fd/{fd}/socket")
        os.close(fd)
        client.sendall(line + b"\n")
        return json.loads(client.makefile().readline())


def test_kill_is_now_and_has_a_status(
    launched: Start, accelerate: Run, script: Script, environ: dict[str, str]
) -> None:
    text = (
        "import signal, time\nfor number in (10, 15): signal.signal(number, signal.SIG_IGN)\n"
        "print(1, flush=True)\ntime.sleep(999)\n"
    )
    deaf = launched(*N2, "--name", "deaf", "--grace", "1000", script(text))
    assert deaf.stdout is not None
    for _rank in range(2):
        deaf.stdout.readline()
    shown = Shown(environ, "deaf", "--signal", "USR1", program=(BIN / "accelerate", "stop"))
    shown.until(b"its ranks got SIGUSR1, and may go on after it; accelerate stop deaf ends them")
    shown.popen.send_signal(signal.SIGINT)
    shown.end()
    done = accelerate("stop", "--signal", "KILL")
    assert (done.returncode, done.stdout) == (143, "deaf ended: terminated by SIGTERM\n")
