"""Machines made of network namespaces on one bridge: each has its own address, name table and loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import BIN
from tests.launch.processes import until

PORT = 29500

# A name server that writes down who asks, and stays silent.
SILENT = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 53))
print("up")
while True:
    print(server.recvfrom(512))
"""


def ip(*words: str) -> None:
    """Run ``ip``."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Network:
    """A bridge in a namespace of its own, and a namespace for each machine."""

    def __init__(self, count: int) -> None:
        """Name them."""
        self.name = f"acl{os.getpid()}"
        self.count = count
        self._bridge = f"{self.name}b"

    def open(self) -> None:
        """Make them.

        Raises:
            OSError: that isn't allowed here.
        """
        ip("netns", "add", self._bridge)
        ip("-n", self._bridge, "link", "add", "br0", "type", "bridge")
        ip("-n", self._bridge, "link", "set", "br0", "up")
        for n in range(self.count):
            self._join(n)

    def _join(self, n: int) -> None:
        space = self.space(n)
        ip("netns", "add", space)
        Path("/etc/netns", space).mkdir(parents=True, exist_ok=True)
        self.hosts(n, "127.0.0.1 localhost\n")
        ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", f"p{n}", "netns", self._bridge)
        ip("-n", self._bridge, "link", "set", f"p{n}", "master", "br0")
        ip("-n", self._bridge, "link", "set", f"p{n}", "up")
        ip("-n", space, "addr", "add", f"{self.address(n)}/24", "dev", "eth0")
        ip("-n", space, "addr", "add", f"{self.address(n, version=6)}/64", "dev", "eth0", "nodad")
        ip("-n", space, "link", "set", "lo", "up")
        ip("-n", space, "link", "set", "eth0", "up")

    def leads_out(self, n: int) -> None:
        """Give machine ``n`` a way to anywhere."""
        ip("-n", self.space(n), "route", "replace", "default", "dev", "eth0")

    def space(self, n: int) -> str:
        """The namespace of machine ``n``."""
        return f"{self.name}m{n}"

    def processes(self, n: int) -> set[int]:
        """The pids of all that runs on machine ``n``."""
        done = subprocess.run(["ip", "netns", "pids", self.space(n)], capture_output=True, text=True, check=True)
        return {*map(int, done.stdout.split())}

    def address(self, n: int, version: int = 4) -> str:
        """The address of machine ``n``."""
        return f"10.88.0.{n + 1}" if version == 4 else f"fd88::{n + 1}"

    def hosts(self, n: int, text: str) -> None:
        """Say what machine ``n`` finds in its /etc/hosts."""
        Path("/etc/netns", self.space(n), "hosts").write_text(text)

    @contextmanager
    def names_from(self, server: int, log: Path) -> Generator[None]:
        """Let all machines ask machine ``server`` for names, which never answers; ``log`` lists who asked."""
        for n in range(self.count):
            Path("/etc/netns", self.space(n), "resolv.conf").write_text(f"nameserver {self.address(server)}\n")
        words = ["ip", "netns", "exec", self.space(server), sys.executable, "-u", "-c", SILENT]
        with log.open("w") as out, subprocess.Popen(words, stdout=out) as running:
            until(lambda: bool(log.read_text()), 10)
            try:
                yield
            finally:
                running.kill()
                for n in range(self.count):
                    Path("/etc/netns", self.space(n), "resolv.conf").unlink()

    @contextmanager
    def etcd(self, n: int, folder: Path) -> Generator[None]:
        """An etcd runs on machine ``n`` meanwhile, at its own port."""
        log, mine = folder / "etcd.log", f"http://{self.address(n)}:2379"
        urls = ("--listen-client-urls", "http://0.0.0.0:2379", "--advertise-client-urls", mine)
        words = ["ip", "netns", "exec", self.space(n), "etcd", "--enable-v2", "--data-dir", folder / "etcd", *urls]
        with log.open("w") as out, subprocess.Popen(words, stdout=out, stderr=out) as running:
            until(lambda: "ready to serve client requests" in log.read_text(), 20)
            try:
                yield
            finally:
                running.kill()

    @contextmanager
    def ipv6_alone(self) -> Generator[None]:
        """No machine has another address meanwhile."""
        for n in range(self.count):
            ip("-n", self.space(n), "addr", "del", f"{self.address(n)}/24", "dev", "eth0")
        try:
            yield
        finally:
            for n in range(self.count):
                ip("-n", self.space(n), "addr", "add", f"{self.address(n)}/24", "dev", "eth0")

    def cut(self, n: int) -> None:
        """Cut the cable of machine ``n``: packets vanish without an error."""
        ip("-n", self._bridge, "link", "set", f"p{n}", "down")

    def mend(self, n: int) -> None:
        """Plug it in again.

        Whoever has asked meanwhile where that machine is, would be told that there is no way to it a little longer.
        """
        ip("-n", self._bridge, "link", "set", f"p{n}", "up")
        for other in range(self.count):
            ip("-n", self.space(other), "neigh", "flush", "dev", "eth0")

    def close(self) -> None:
        """Remove all of it."""
        for space in [*map(self.space, range(self.count)), self._bridge]:
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
            shutil.rmtree(f"/etc/netns/{space}", ignore_errors=True)


class Launch:
    """``accelerate launch`` on one of the machines."""

    def __init__(
        self, network: Network, n: int, words: tuple[str, ...], environ: Mapping[str, str], log: Path
    ) -> None:
        """Start it."""
        self.log, self.began, self.environ = log, time.monotonic(), environ
        inside = ["ip", "netns", "exec", network.space(n), BIN / "accelerate", "launch", *words]
        with log.open("wb") as out:
            self.process = subprocess.Popen(inside, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environ)

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def says(self, text: str, within: float = 180.0) -> bool:
        """Return whether it prints ``text`` within this many seconds."""
        return until(lambda: text in self.text or self.process.poll() is not None, within) and text in self.text

    def wait(self, within: float = 180.0) -> int:
        """Its status, once it has ended: beside other tests, a slow machine takes a minute to import torch everywhere."""
        return self.process.wait(within)
