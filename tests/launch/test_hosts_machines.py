"""`accelerate launch --hosts` with real ssh and sshd, on machines made of network namespaces."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import BIN
from tests.launch.machines import Network
from tests.launch.processes import Script, until
from tests.launch.sshd import Daemons
from tests.launch.user import User, without_torch

pytestmark = [pytest.mark.machines, pytest.mark.timeout(400)]

SAYS = """
import json, os, sys, time
said = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "TOKEN", "SHELL_ONLY", "ACCELERATE_LIFELINE_SECRET")}
print(json.dumps({**said, "host": os.uname().nodename, "cwd": os.getcwd(), "stdin": sys.stdin.read()}), flush=True)
print(f"error of {os.environ['RANK']}", file=sys.stderr, flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(int(sys.argv[2]) if os.environ["RANK"] == "1" else 0)
"""
WORD = "secret-word"
WAITS = """
import os, signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: print("usr1", flush=True))
signal.signal(signal.SIGTERM, lambda *_: sys.exit("term"))
print("up", flush=True)
while True:
    time.sleep(0.1)
"""


def test_one_command_runs_another_machine(user: User, script: Script) -> None:
    launch = user.start(
        "--hosts", "n1*2", "--env", f"TOKEN={WORD}", "--prefix", "--report", "report.json", script(SAYS), 1.5, 0
    )
    assert until(lambda: user.out.count("\n") == 2 or launch.poll() is not None, 150), user.err
    for n in (0, 1):  # what this run carries is nobody's to see
        for process in user.on(n):
            seen = " ".join(process.cmdline())
            if "train" not in seen and "script" not in seen:
                seen += str(process.environ())
            assert WORD not in seen.replace(f"TOKEN={WORD} --prefix", ""), process
    assert launch.wait(150) == 0, user.err
    lines = sorted(user.out.splitlines())
    assert [line[:7] for line in lines] == ["[n1:0] ", "[n1:1] "]
    said = [json.loads(line[7:]) for line in lines]
    assert [(one["RANK"], one["WORLD_SIZE"], one["host"]) for one in said] == [("0", "2", "n1"), ("1", "2", "n1")]
    assert all(one["TOKEN"] == WORD and one["cwd"] == str(user.folder) for one in said)
    assert all(one["SHELL_ONLY"] is None and one["ACCELERATE_LIFELINE_SECRET"] is None for one in said)
    assert said[0]["stdin"] == ""  # the lifeline is no rank's
    assert "[n1:1] error of 1" in user.err
    assert json.loads((user.folder / "report.json").read_text())["status"] == 0
    assert user.nothing_left()


def up(user: User, script: Script, *words: object, stdout: int | None = None) -> subprocess.Popen[bytes]:
    launch = user.start("--hosts", "n1*2", *words, script(WAITS), stdout=stdout)
    assert until(lambda: user.out.count("up") == 2 or launch.poll() is not None, 150), user.err
    return launch


def test_signals_go_to_all(user: User, script: Script) -> None:
    launch = up(user, script)
    launch.send_signal(signal.SIGTSTP)  # without effect: who is stopped gives no sign of life
    launch.send_signal(signal.SIGUSR1)
    assert until(lambda: user.out.count("usr1") == 2), user.out
    launch.send_signal(signal.SIGTERM)
    assert launch.wait(150) == -signal.SIGTERM, user.err
    assert user.err.count("term\n") == 2
    assert "accel: terminated by SIGTERM; ranks 0-1 ended in" in user.err
    assert user.nothing_left()


def test_a_detached_run_is_stopped_from_this_machine(user: User, script: Script) -> None:
    """What its ssh needs lives on in it."""
    assert user.run("--hosts", "n1*2", "-d", script(WAITS)) == 0, user.err
    name = user.out.strip()

    def said(*words: str) -> str:
        return subprocess.run(
            [BIN / "accelerate", *words, name], env=user.environ, capture_output=True, text=True, check=False
        ).stdout

    assert until(lambda: said("logs").count("up") == 2, 60)
    assert user.on(1)
    assert "terminated by SIGTERM" in said("stop")
    assert user.nothing_left()
    assert said("logs").count("term\n") == 2


def test_a_slow_reader_holds_ranks_up_and_one_that_leaves_ends_them(user: User, script: Script) -> None:
    reader, writer = os.pipe()
    endless = script("import sys\nwhile True:\n    sys.stdout.write('x' * 99 + '\\n')\n")
    launch = user.start("--hosts", "n1*2", endless, stdout=writer)
    os.close(writer)
    assert len(os.read(reader, 100)) > 0
    time.sleep(1)
    assert psutil.Process(launch.pid).memory_info().rss < 100 << 20
    data = b"".join(os.read(reader, 65536) for _ in range(64))
    assert {len(line) for line in data.split(b"\n")[1:-1]} == {99}  # whole lines
    os.close(reader)
    assert launch.wait(150) == 141, user.err
    assert user.nothing_left()


def test_what_keeps_a_machine_out_is_told_before_any_rank_starts(
    user: User, ssh: Daemons, network: Network, script: Script
) -> None:
    config, path = (ssh.folder / "config").read_text(), script(SAYS)

    def refused(*words: object) -> str:
        assert user.run("--hosts", "n1,n2,n0", "--nproc_per_node", 1, *words, path, 0, 0) == 2, user.err
        assert user.out == ""
        return user.err

    ssh.known_hosts.write_text("".join(line + "\n" for line in ssh.known.splitlines()[:2]))
    assert "n2: its host key isn't known here; accept it with `ssh n2`" in refused()
    ssh.known_hosts.write_text(ssh.known)
    (ssh.folder / "config").write_text(config.replace("/user\n", "/other\n"))
    said = refused()
    assert "n1: a password would be needed (" in said
    assert "ssh-copy-id n2" in said
    (ssh.folder / "config").write_text(config)
    assert "n0: /no/python can't be started on this machine (No such file" in refused("--python", "/no/python")
    assert user.run("--hosts", "n1", "--python", "/no/python", path, 0, 0) == 2
    assert "accelerate launch: n1 has no /no/python; give --python an interpreter that it has" in user.err
    plain = shutil.which("python3", path="/usr/bin")
    if plain:
        assert re.search(
            r"n2 has no accel-launch for /usr/bin/python3; .*install this version: ssh n2 ",
            refused("--python", plain),
        )
    network.cut(2)
    assert re.search(r"n2: it can't be reached \(ssh: .*\); check that it runs, and try `ssh n2`", refused())
    network.mend(2)
    shutil.move(path, f"{path}.away")
    said = refused()
    assert all(f"{host}: " in said and str(path) in said for host in ("n0", "n1", "n2"))
    assert user.nothing_left()


def test_a_machine_that_can_not_take_part_ends_all_at_once(user: User, script: Script, tmp_path: Path) -> None:
    """Though another one is slow to answer, or has started its ranks, which wait for those of the first."""
    words, path = ("--hosts", "n[1-2]", "--nproc_per_node", 1, *without_torch(tmp_path), "--python"), script(WAITS)
    user.folder = tmp_path / "user"
    (folder := user.folder / "folder").mkdir(parents=True)
    (hold := tmp_path / "hold").touch()
    slow = f"while [ -e {hold} ]; do sleep 0.2; done"

    def without(there: Path) -> str:
        return f'exec unshare -m sh -c \'mount -t tmpfs -o ro none {there} && exec {sys.executable} "$@"\' sh "$@"'

    for python, more, told in (
        (user.python(n1=without(tmp_path), n2=slow), (path,), f"the folder {user.folder} isn't there"),
        (user.python(n1=without(folder)), (shutil.copy(path, folder),), f"the script {folder / path.name} doesn't"),
        (user.python(n1=without(folder)), ("--log_dir", folder, path), f"log_dir {folder}: Read-only file system"),
    ):
        began = time.monotonic()
        assert user.run(*words, python, *more) == 2, user.err
        assert time.monotonic() - began < 20, user.err
        assert user.err.count(f"n1: {told}") == 1, user.err
        assert "failed" not in user.err
    hold.unlink()
    assert user.nothing_left()


def test_code_and_launcher_are_carried_to_machines_that_share_a_home(user: User, ssh: Daemons) -> None:
    python, project = shutil.which("python3", path="/usr/bin"), user.folder / "project"
    if python is None:
        pytest.skip("no Python without the launcher")
    project.mkdir()
    (project / "train.py").write_text("import os, a\nprint(os.uname().nodename, os.getcwd(), a.word, flush=True)\n")
    (project / "a.py").write_text("word = 'one'\n")
    (project / "data").write_bytes(os.urandom(3_000_000))
    words = ("--python", python, "--sync", "project/train.py")
    assert user.run("--hosts", "n1,n2", *words) == 2, user.err
    assert user.err.count("carry it there with --sync_launcher, or install") == 2
    said: list[list[str]] = []
    pipes = [os.pipe() for _ in range(2)]
    for n, (_, writer) in enumerate(pipes, 1):  # both write to one folder at once
        user.start("--hosts", f"n{n}", "--sync_launcher", *words, stdout=writer)
        os.close(writer)
    for launch, (reader, _) in zip(user.started[-2:], pipes, strict=True):
        with os.fdopen(reader) as out:
            said.append(out.read().split())
        assert launch.wait(150) == 0, user.err
    (first, where, word), (second, *same) = said
    assert (first, second, same, word) == ("n1", "n2", [where, word], "one")
    assert re.fullmatch(rf"{ssh.home}/.cache/accel/sync/[0-9a-f]{{16}}", where)
    there = {str(path.relative_to(where)) for path in Path(where).rglob("*")}
    assert {name for name in there if "pyc" not in name} == {  # nothing is set aside
        *(".accel-sync", "project", "project/a.py", "project/data", "project/train.py"),
    }
    assert len(list((ssh.home / ".cache/accel/launcher").iterdir())) == 1
    (project / "a.py").write_text("word = 'two'\n")
    assert user.run("--hosts", "n1", "--sync_launcher", *words) == 0, user.err
    assert user.out.split()[2] == "two"
    assert "accel: n1: carried 1 file (0.0 kB)\n" in user.err
    assert user.nothing_left()
