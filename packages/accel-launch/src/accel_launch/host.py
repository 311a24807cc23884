"""Facts of this machine, read once at the edge and handed to the planner."""

from __future__ import annotations

import os
import sys

from accel_config.record import Record

from . import cgroup, devices

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Iterator, Mapping

    from .route import Route

PATIENCE = 2.0  # seconds to look up a name before the launch goes on without it


class Host(Record):
    """What is true of the machine (or pretended, in a test) that a plan is made for."""

    name: str = "localhost"
    environ: Mapping[str, str] = {}
    devices: tuple[devices.Device, ...] = ()
    """The accelerators that are visible."""
    cores: int = 1
    """Physical cores that this process may use, after its affinity and its cgroup's quota."""
    python: str = "python3"
    """The interpreter that runs us."""
    cwd: str = "."
    driver: str = ""
    """Version of NVIDIA's driver."""
    machine: Machine | None = None
    """What can only be asked while planning; see `Machine`."""

    @classmethod
    def here(cls) -> Host:
        """Read the facts of this machine."""
        environ = dict(os.environ)
        try:
            cwd = os.getcwd()
        except OSError:
            cwd = ""
        return cls(
            name=os.uname().nodename,
            environ=environ,
            devices=devices.find(environ),
            cores=_cores(),
            python=sys.executable or "python3",
            cwd=cwd,
            driver=_driver(),
            machine=Machine(),
        )

    @property
    def ask(self) -> Machine:
        """The machine to ask; one that knows nothing where the host is made up."""
        return self.machine or Machine()


class Machine:
    """Questions that cost time, asked only where a plan depends on the answer."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._held: list[socket.socket] = []
        self._herald: bool | None = None

    def __del__(self) -> None:
        """Let go of the ports."""
        for held in self._held:
            held.close()

    def module(self, name: str) -> bool:
        """Whether the top-level module ``name`` can be imported; nothing is imported to find out."""
        from importlib.util import find_spec

        try:
            return find_spec(name) is not None
        except (ImportError, ValueError):
            return name in sys.modules

    def program(self, name: str) -> str | None:
        """Return the path of the program ``name`` on PATH."""
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        return None

    def version(self, name: str) -> str | None:
        """Return the version of the distribution ``name`` beside us; None where there is none."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(name)
        except PackageNotFoundError:
            return None

    def says(self, *words: str, within: float = 20.0) -> str:
        """Return what a short program prints; nothing where it can't be run or takes longer than so many seconds."""
        import subprocess  # noqa: TID251 - a question, not a rank: it is over before anything starts

        try:
            done = subprocess.run(words, capture_output=True, timeout=within, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return (done.stdout + done.stderr).decode(errors="replace")

    def ancestor(self, name: str) -> int:
        """Return the pid of the nearest process above us that is called ``name``; 0 where there is none."""
        return next((pid for pid, own in _above() if own == name[:15]), 0)  # the kernel keeps no more of a name

    def met(self, environ: Mapping[str, str], rank: int) -> tuple[str, str] | None:
        """Return what the ranks of an mpirun tell each other of their run; see `accel_launch.schedulers.pmi.met`."""
        from .schedulers import pmi

        return pmi.met(environ, rank)

    def first_host(self) -> str:
        """Return where rank 0 of our mpirun is; nothing if nobody says so. See `accel_launch.schedulers.pmix`."""
        from .schedulers import pmix

        path = next(filter(None, (_loaded(pid, pmix.LIBRARY) for pid, _name in _above())), "")
        return self.says(sys.executable, "-I", "-S", pmix.__file__, path).strip() if path else ""

    def herald(self, port: int, word: str, askers: int) -> bool:
        """Tell the other ranks of our mpirun that rank 0 is here; False where nothing can listen on ``port``.

        See `accel_launch.schedulers.herald`.
        """
        if self._herald is None:
            from .schedulers import herald

            words = (sys.executable, "-I", "-S", herald.__file__, str(port), word, str(askers), str(os.getpid()))
            self._herald = self.says(*words).startswith("listening")
        return self._herald

    def heard(self, hosts: tuple[str, ...], port: int, word: str) -> str | None:
        """Return on which of ``hosts`` rank 0 of our mpirun says that it is; see `accel_launch.schedulers.herald`."""
        from .schedulers import herald

        return herald.ask(hosts, port, word)

    def answers(self, address: str, port: int) -> bool:
        """Whether something listens there, and can be reached from here."""
        import socket

        try:
            socket.create_connection((address, port), timeout=2).close()
        except OSError:
            return False
        return True

    def listening(self, pid: int) -> frozenset[int]:
        """Return the ports on which a process listens; see `accel_launch.connections`."""
        from . import connections

        return connections.listening(pid)

    def callers(self, ports: Collection[int]) -> tuple[str, ...]:
        """Return the addresses that are connected to one of ``ports`` of this machine."""
        from . import connections

        return connections.callers(ports)

    def root(self) -> bool:
        """Whether we are root, as whom some programs refuse to run unless told to."""
        return os.geteuid() == 0

    def route(self, address: str, *, look_up: bool) -> Route | None:
        """Return the way to another machine; None where it isn't known, as while no name server answers.

        A name is looked up where that is allowed, for a few seconds. See `accel_launch.route.among`.
        """
        if sys.platform != "linux":
            return None
        from . import route

        if route.numeric(address):
            return route.towards(address)
        return route.among(address, self._addresses(address, route.DISCARD)) if look_up else None

    def _addresses(self, name: str, port: int) -> list[tuple[object, ...]]:
        """Return what `socket.getaddrinfo` says of a name, if it says so soon."""
        import json

        from . import names

        said = self.says(sys.executable, "-I", "-S", names.__file__, name, str(port), within=PATIENCE)
        try:
            return [(*told, tuple(where)) for *told, where in json.loads(said)]
        except ValueError:  # nothing, or why there are none
            return []

    def elsewhere(self, address: str) -> bool:
        """Whether it is a number that is not this machine's; see `accel_launch.route.elsewhere`."""
        from . import route

        return route.elsewhere(address)

    def free_port(self) -> int:
        """Return a port that nothing else on this machine is given while we live.

        The socket stays bound but never listens, so the kernel hands the port to no other bind(0) or connect(),
        while the rank that names the port can listen on it.
        """
        import socket

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
        """Whether something listens on ``port`` of this machine already."""
        import socket

        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                return True
        return False


def _above() -> Iterator[tuple[int, str]]:
    """Go through the processes above us, the nearest first: the pid and the name of each."""
    pid = os.getppid()
    while pid > 1:
        own, _, rest = devices.read(f"/proc/{pid}/stat").rpartition(")")
        yield pid, own.partition("(")[2]
        pid = int((rest.split() or ["", "0"])[1])


def _loaded(pid: int, library: str) -> str:
    """Return the path of a library that a process has loaded; nothing where it has not, or isn't ours to look at."""
    lines = devices.read(f"/proc/{pid}/maps").splitlines()
    return next((line.split(None, 5)[5] for line in lines if library in line), "")


def _driver() -> str:
    words = devices.read("/proc/driver/nvidia/version").split()
    return next((word for word in words if word[:1].isdigit() and "." in word), "")


def _cores() -> int:
    """Return the physical cores that we may use: those of our affinity, no more than the cgroup's quota."""
    try:
        cpus = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
    siblings = {
        devices.read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in cpus
    }
    quota = cgroup.cpus()
    return max(1, min(len(siblings), int(quota)) if quota else len(siblings))
