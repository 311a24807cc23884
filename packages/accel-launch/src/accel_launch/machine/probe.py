"""Questions to this machine that cost time. The planner asks one only if the plan depends on the answer.

`Probe` has one object for each concern. A test replaces any of them by an object with fixed answers.
"""

from __future__ import annotations

import os
import sys

from accel_launch.machine.files import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Collection, Iterator, Mapping

    from accel_launch.machine.topology import Topology
    from accel_launch.ranks.route import Route

LOOKUP_LIMIT = 2.0
"""Seconds for the lookup of a name; afterwards the launch goes on without its address."""


class Ports:
    """TCP ports of this machine."""

    def __init__(self) -> None:
        """Reserve no port yet."""
        self._held: list[_socket.socket] = []

    def __del__(self) -> None:
        """Release the reserved ports."""
        for held in self._held:
            held.close()

    def free(self) -> int:
        """Reserve a free port while this object lives, and return it.

        The socket stays bound and never listens: the kernel gives the port to no other bind(0) or connect(), and the
        rank that is given the port can listen on it.

        Raises:
            OSError: no port is free.
        """
        import _socket as socket  # its wrapper takes as long to load as a third of the interpreter

        for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "")):
            try:
                held = socket.socket(family, socket.SOCK_STREAM)
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                held.bind((address, 0))
            except OSError:
                continue
            self._held.append(held)
            return int(held.getsockname()[1])
        raise OSError("no free port")

    def busy(self, port: int) -> bool:
        """Return whether something already listens on ``port``."""
        import socket

        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("", port))
            except OSError:
                return True
        return False


class Programs:
    """Programs of this machine."""

    def find(self, name: str) -> str | None:
        """Return the path of the program ``name`` on PATH."""
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        return None

    def output(self, *words: str, within: float = 20.0) -> str:
        """Return what a short program prints; empty if it can't run or takes longer than ``within`` seconds."""
        import subprocess  # noqa: TID251 - a question, not a rank: it has ended before anything starts

        try:
            done = subprocess.run(words, capture_output=True, timeout=within, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return (done.stdout + done.stderr).decode(errors="replace")

    def as_root(self) -> bool:
        """Return whether programs run as root. Some refuse to, unless a flag allows it."""
        geteuid = getattr(os, "geteuid", None)
        return geteuid is not None and geteuid() == 0


class Packages:
    """Python packages of the interpreter that runs us."""

    def has(self, module: str) -> bool:
        """Return whether a top-level module can be imported. Nothing is imported to find out."""
        from importlib.util import find_spec

        try:
            return find_spec(module) is not None
        except (ImportError, ValueError):
            return module in sys.modules

    def flight_recorder(self) -> str:
        """Return how the variables of torch's flight recorder begin, in the installed version; empty without torch.

        They have been renamed, and the new names make no sense to an old version; a new one warns of the old names.
        """
        from importlib.util import find_spec

        try:
            found = find_spec("torch")
        except (ImportError, ValueError):
            return ""
        if found is None or not found.origin:
            return ""
        header = f"{os.path.dirname(found.origin)}/include/torch/csrc/distributed/c10d/FlightRecorder.hpp"
        return "TORCH_FR" if '"TORCH_FR_BUFFER_SIZE"' in read(header) else "TORCH_NCCL"

    def version(self, distribution: str) -> str | None:
        """Return the installed version of a distribution; None if it isn't installed."""
        from accel_config.showing.installing import version

        return version(distribution, "") or None


class Ancestors:
    """Processes above this one: its parent, the parent of that, and so on."""

    def nearest(self, name: str) -> int:
        """Return the pid of the nearest ancestor called ``name``; 0 if there is none."""
        return next((pid for pid, own in self._all() if own == name[:15]), 0)  # the kernel keeps 15 bytes of a name

    def library(self, name: str) -> str:
        """Return the path of the library ``name`` of the nearest ancestor that has loaded it; empty if none has."""
        return next(filter(None, (loaded(pid, name) for pid, _name in self._all())), "")

    def _all(self) -> Iterator[tuple[int, str]]:
        """Yield the pid and the name of each ancestor, the nearest first."""
        pid = os.getppid()
        while pid > 1:
            own, _, rest = read(f"/proc/{pid}/stat").rpartition(")")
            yield pid, own.partition("(")[2]
            pid = int((rest.split() or ["", "0"])[1])


def loaded(pid: int, library: str) -> str:
    """Return the path of a library that a process has loaded; empty if it hasn't, or if we may not look at it."""
    lines = read(f"/proc/{pid}/maps").splitlines()
    return next((line.split(None, 5)[5] for line in lines if library in line), "")


class Network:
    """Ways to other machines, and connections with them."""

    def __init__(self, programs: Programs) -> None:
        """Look names up in a process of ``programs``."""
        self._programs = programs

    def route(self, address: str, *, look_up: bool) -> Route | None:
        """Return the route to another machine; None if it isn't known, for example while no name server answers.

        A name is looked up only if ``look_up`` is set, for a few seconds. See `accel_launch.ranks.route.among`.
        """
        from accel_launch.ranks import route
        from accel_launch.ranks.system import calls

        if not calls.ROUTES:
            return None

        if route.numeric(address):
            return route.towards(address)
        return route.among(address, self._addresses(address, route.DISCARD)) if look_up else None

    def _addresses(self, name: str, port: int) -> list[tuple[object, ...]]:
        """Return the answer of `socket.getaddrinfo` if it comes soon."""
        import json

        from accel_launch.ranks import names

        answer = self._programs.output(
            sys.executable, "-I", "-S", names.__file__, name, str(port), within=LOOKUP_LIMIT
        )
        try:
            return [(*fields, tuple(address)) for *fields, address in json.loads(answer)]
        except ValueError:  # nothing, or an error message
            return []

    def is_remote(self, address: str) -> bool:
        """Return whether a numeric address isn't this machine's; see `accel_launch.ranks.route.elsewhere`."""
        from accel_launch.ranks import route

        return route.elsewhere(address)

    def addresses(self, interface: str) -> tuple[str, ...]:
        """Return this machine's addresses on an interface, without those that hold on one link alone."""
        from accel_launch.ranks import route

        return tuple(one for one, name in route.interfaces().items() if name == interface and one[:4] != "fe80")

    def answers(self, address: str, port: int) -> bool:
        """Return whether something listens on ``port`` there and can be reached from here."""
        import socket

        try:
            socket.create_connection((address, port), timeout=2).close()
        except OSError:
            return False
        return True

    def listening(self, pid: int) -> frozenset[int]:
        """Return the ports on which a process listens; see `accel_launch.machine.connections`."""
        from accel_launch.machine import connections

        return connections.listening(pid)

    def callers(self, ports: Collection[int]) -> tuple[str, ...]:
        """Return the addresses that are connected to one of ``ports`` of this machine."""
        from accel_launch.machine import connections

        return connections.callers(ports)


class Mpi:
    """Questions about rank 0 to the mpirun that started this process."""

    def __init__(self, programs: Programs, ancestors: Ancestors) -> None:
        """Run the helpers of ``ranks`` with ``programs``, and look for mpirun's library in ``ancestors``."""
        self._programs, self._ancestors = programs, ancestors
        self._beacon: bool | None = None

    def meet(self, environ: Mapping[str, str], rank: int) -> tuple[str, str] | None:
        """Return the host of rank 0 and a unique name of the run, both by PMI; see `accel_launch.machine.pmi`."""
        from accel_launch.machine import pmi

        return pmi.meet(environ, rank)

    def first_host(self) -> str:
        """Return the host of rank 0 according to PMIx; empty if it isn't known. See `accel_launch.ranks.managers`."""
        from accel_launch.ranks import managers

        path = self._ancestors.library(managers.LIBRARY)
        return self._programs.output(sys.executable, "-I", "-S", managers.__file__, path).strip() if path else ""

    def start_beacon(self, port: int, askers: int) -> bool:
        """Start the rank-0 beacon, once; False if it can't listen on ``port``. See `accel_launch.ranks.beacon`."""
        if self._beacon is None:
            from accel_launch.ranks import beacon

            words = (sys.executable, "-I", "-S", beacon.__file__, str(port), str(askers), str(os.getpid()))
            self._beacon = self._programs.output(*words).startswith("listening")
        return self._beacon

    def find_beacon(self, hosts: tuple[str, ...], port: int) -> str | None:
        """Return which of ``hosts`` has the rank-0 beacon of our mpirun; see `accel_launch.ranks.beacon`."""
        from accel_launch.ranks import beacon

        return beacon.ask(hosts, port)


class Probe:
    """The questions by concern: ``probe.ports.free()``."""

    def __init__(self) -> None:
        """Ask nothing yet."""
        self.ports = Ports()
        self.programs = Programs()
        self.packages = Packages()
        self.ancestors = Ancestors()
        self.network = Network(self.programs)
        self.mpi = Mpi(self.programs, self.ancestors)

    def topology(self) -> Topology:
        """Return the cores that this process may use, and what is near which."""
        from accel_launch.machine import cgroup
        from accel_launch.machine.topology import Topology
        from accel_launch.ranks.system import calls

        return Topology(cgroup.affinity() if calls.BINDS else ())
