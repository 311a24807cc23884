"""Somebody who launches with `--hosts` from machine 0, and a stand-in for torch's agent that starts at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.conftest import BIN
from tests.launch.machines import Network
from tests.launch.processes import until
from tests.launch.sshd import Daemons

# Starts the ranks of its machine, as torch's agent does.
AGENT = """
import os, sys
flags = dict(word[2:].split("=", 1) for word in sys.argv[1 : sys.argv.index("--no-python")])
count, place, machines = (int(flags[name]) for name in ("nproc-per-node", "node-rank", "nnodes"))
given = {"WORLD_SIZE": count * machines, "MASTER_ADDR": flags["master-addr"], "MASTER_PORT": flags["master-port"]}
words = sys.argv[sys.argv.index("--no-python") + 1 :]
ranks = []
for local in range(count):
    own = {**given, "RANK": place * count + local, "LOCAL_RANK": local, "LOCAL_WORLD_SIZE": count}
    environ = {**os.environ, **{name: str(text) for name, text in own.items()}}
    ranks.append(os.posix_spawn(words[0], words, environ))
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ranks))
"""


def without_torch(folder: Path) -> tuple[str, str]:
    """Put the stand-in below ``folder``; return the flags of `--hosts` with which machines have it instead of torch."""
    package = folder / "modules" / "torch" / "distributed"
    package.mkdir(parents=True)
    for one in (package, package.parent):
        (one / "__init__.py").touch()
    (package / "run.py").write_text(AGENT)
    return "--env", f"PYTHONPATH={folder / 'modules'}"


class User:
    """Somebody who launches on machine 0, and looks at what runs on all of them."""

    def __init__(self, network: Network, ssh: Daemons, environ: dict[str, str], folder: Path) -> None:
        self.network, self.ssh, self.folder = network, ssh, folder
        self.environ = {**ssh.environ(environ), "SHELL_ONLY": "here"}
        self.started: list[subprocess.Popen[bytes]] = []
        self.command = "launch"

    def start(self, *words: object, stdout: int | None = None) -> subprocess.Popen[bytes]:
        there = [
            "ip",
            "netns",
            "exec",
            self.network.space(0),
            "unshare",
            "--uts",
            "sh",
            "-c",
            'hostname n0; exec "$@"',
        ]
        launch = ["sh", BIN / "accelerate", self.command, "--cpu", *map(str, words)]
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            made = subprocess.Popen(
                [*there, *launch], stdout=stdout or out, stderr=err, env=self.environ, cwd=self.folder
            )
        self.started.append(made)
        return made

    def run(self, *words: object) -> int:
        return self.start(*words).wait(200)

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text(errors="replace")

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text(errors="replace")

    def on(self, n: int) -> list[psutil.Process]:
        """What runs on a machine, beside sshd: launchers, and what is below them; on machine 0 ssh as well."""
        pids = subprocess.run(
            ["ip", "netns", "pids", self.network.space(n)], capture_output=True, text=True, check=True
        )
        found: list[psutil.Process] = []
        for pid in pids.stdout.split():
            try:
                process = psutil.Process(int(pid))
                if not process.name().startswith("sshd") and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def python(self, **does: str) -> Path:
        """Return an interpreter that does something before on the machines of these names, in the shell's words."""
        path = self.folder / f"python-{'-'.join(does)}"
        cases = "".join(f"{name}) {words};; " for name, words in does.items())
        path.write_text(f'#!/bin/sh\ncase $(hostname) in {cases}esac\nexec {sys.executable} "$@"\n')
        path.chmod(0o755)
        return path

    def nothing_left(self, within: float = 30.0) -> bool:
        return until(lambda: not any(self.on(n) for n in range(self.network.count)), within)

    def named(self, n: int, text: str) -> psutil.Process:
        """The oldest process of a machine that has ``text`` in its command line."""
        return next(one for one in self.on(n) if text in " ".join(one.cmdline()))


@contextmanager
def at_work(network: Network, ssh: Daemons, environ: Mapping[str, str], folder: Path) -> Generator[User]:
    """A user whose launches leave nothing on any machine."""
    made = User(network, ssh, dict(environ), folder)
    yield made
    for n in range(network.count):
        network.mend(n)
    for launch in made.started:
        if launch.poll() is None:
            launch.kill()
            launch.wait(10)
    made.nothing_left(20)
    left = [process.cmdline() for n in range(network.count) for process in made.on(n)]
    for n in range(network.count):
        for process in made.on(n):
            process.kill()
    assert not left, f"left running: {left}"
