"""An ssh daemon of OpenSSH on each machine of a network, and a home whose ssh reaches them by name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.launch.machines import Network
from tests.launch.processes import until


class Daemons:
    """The daemons, and what ssh of the user on machine 0 needs to reach ``n0``, ``n1`` and so on."""

    def __init__(self, network: Network, folder: Path, sshd: str) -> None:
        self.network, self.folder, self.sshd = network, folder, sshd
        self.running: list[subprocess.Popen[bytes]] = []
        folder.mkdir()
        for name in ("host", "user", "other"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        key = (folder / "host.pub").read_text()
        self.known = "".join(f"{network.address(n)} {key}" for n in range(network.count))
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(self.known)
        self.home = folder / "home"
        """The user's home, which all machines share."""
        self.home.mkdir()
        (folder / "conf").write_text(
            f"Port 22\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nPidFile none\nStrictModes no\n"
            "UsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 100\n"
            f"SetEnv HOME={self.home}\n"
        )
        hosts = "".join(f"Host n{n}\n  HostName {network.address(n)}\n" for n in range(network.count))
        (folder / "config").write_text(
            f"{hosts}Host *\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile none\n"
            "  RemoteCommand echo another command than ours\n"
        )
        # OpenSSH finds the user's config by the password database, whatever HOME is.
        (folder / "bin").mkdir()
        self.ssh = folder / "bin" / "ssh"
        self.ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
        self.ssh.chmod(0o755)

    def start(self) -> None:
        """Start one on each machine, which has a name of its own."""
        Path("/run/sshd").mkdir(exist_ok=True)
        for n in range(self.network.count):
            space = ["ip", "netns", "exec", self.network.space(n), "unshare", "--uts", "sh", "-c"]
            daemon = f'hostname n{n}; exec "{self.sshd}" -D -e -f {self.folder}/conf'
            with (self.folder / f"log{n}").open("wb") as log:
                self.running.append(subprocess.Popen([*space, daemon], stdout=log, stderr=log))
        for n in range(self.network.count):
            assert until(lambda n=n: "listening" in (self.folder / f"log{n}").read_text(), 20)

    def stop(self) -> None:
        for daemon in self.running:
            daemon.send_signal(signal.SIGKILL)
            daemon.wait(10)

    def environ(self, environ: dict[str, str]) -> dict[str, str]:
        """The variables of a shell whose ssh reaches the machines."""
        return {**environ, "PATH": f"{self.folder / 'bin'}:{environ.get('PATH', os.environ['PATH'])}"}


@contextmanager
def daemons(network: Network, folder: Path) -> Generator[Daemons]:
    """Daemons that run meanwhile."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if sshd is None or shutil.which("ssh") is None or sys.platform != "linux":
        pytest.skip("openssh-client and openssh-server aren't installed")
    made = Daemons(network, folder, sshd)
    try:
        made.start()
        yield made
    finally:
        made.stop()
