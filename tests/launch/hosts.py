"""Made-up machines, for plans that a test can read."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from accel_launch.machine import probe
from accel_launch.machine.devices import Device
from accel_launch.machine.host import Host
from accel_launch.machine.probe import Probe
from accel_launch.machine.topology import Topology
from accel_launch.ranks.route import Route

INSTALLED = ("torch", "deepspeed", "megatron", "torchao")


class Ports(probe.Ports):
    def __init__(self, busy: tuple[int, ...] = ()) -> None:
        super().__init__()
        self._busy = busy

    def free(self) -> int:
        return 40001

    def busy(self, port: int) -> bool:
        return port in self._busy


class Programs(probe.Programs):
    def __init__(self, found: tuple[str, ...] = (), *, version: str | None = None, root: bool = False) -> None:
        self._found, self._version, self._root = found, version, root

    def find(self, name: str) -> str | None:
        return f"/bin/{name}" if name in self._found else None

    def output(self, *words: str, within: float = 20.0) -> str:  # noqa: ARG002 - it answers at once
        assert words[1:] == ("--version",)
        assert self._version is not None
        return self._version

    def as_root(self) -> bool:
        return self._root


class Packages(probe.Packages):
    def __init__(
        self, modules: tuple[str, ...] = INSTALLED, *, versions: Mapping[str, str] = {}, recorder: str = ""
    ) -> None:
        self._modules, self._versions, self._recorder = modules, versions, recorder

    def has(self, module: str) -> bool:
        return module in self._modules

    def flight_recorder(self) -> str:
        return self._recorder

    def version(self, distribution: str) -> str | None:
        return self._versions.get(distribution)


class Ancestors(probe.Ancestors):
    def nearest(self, name: str) -> int:  # noqa: ARG002 - there is none
        return 0

    def library(self, name: str) -> str:  # noqa: ARG002 - there is none
        return ""


class Network(probe.Network):
    def __init__(self) -> None:
        pass

    def route(self, address: str, *, look_up: bool) -> Route | None:
        return Route("eth1", "10.0.0.7") if address.startswith("10.") or look_up else None

    def is_remote(self, address: str) -> bool:
        return address.startswith("192.0.2.")

    def addresses(self, interface: str) -> tuple[str, ...]:
        return ("10.0.0.7",) if interface == "eth1" else ()

    def answers(self, address: str, port: int) -> bool:  # noqa: ARG002 - no traffic
        return False

    def listening(self, pid: int) -> frozenset[int]:  # noqa: ARG002 - no traffic
        return frozenset()

    def callers(self, ports: Collection[int]) -> tuple[str, ...]:  # noqa: ARG002 - no traffic
        return ()


class Mpi(probe.Mpi):
    def __init__(self) -> None:
        pass

    def meet(self, environ: Mapping[str, str], rank: int) -> tuple[str, str] | None:  # noqa: ARG002 - no traffic
        return None

    def first_host(self) -> str:
        return ""

    def start_beacon(self, port: int, askers: int) -> bool:  # noqa: ARG002 - no traffic
        return False

    def find_beacon(self, hosts: tuple[str, ...], port: int) -> str | None:  # noqa: ARG002 - no traffic
        return None


class Still(Probe):
    """A machine whose answers are fixed: the real one is never asked. A test replaces the concerns it is about."""

    def __init__(
        self,
        busy: tuple[int, ...] = (),
        modules: tuple[str, ...] = INSTALLED,
        programs: tuple[str, ...] | Programs = (),
        *,
        packages: Packages | None = None,
        ancestors: Ancestors | None = None,
        network: Network | None = None,
        mpi: Mpi | None = None,
        topology: Topology | None = None,
    ) -> None:
        super().__init__()
        self.ports = Ports(busy)
        self.programs = programs if isinstance(programs, Programs) else Programs(programs)
        self.packages = packages or Packages(modules)
        self.ancestors = ancestors or Ancestors()
        self.network = network or Network()
        self.mpi = mpi or Mpi()
        self._topology = topology or Topology(range(8), "/nowhere")

    def topology(self) -> Topology:
        return self._topology


def gpus(count: int, kind: str = "GPU") -> tuple[Device, ...]:
    return tuple(Device(kind, str(place), uuid=f"GPU-{place}abc") for place in range(count))


def host(
    devices: int | tuple[Device, ...] = 0,
    environ: dict[str, str] | None = None,
    cores: int = 8,
    probe: Probe | None = None,
    cwd: str = "/",
) -> Host:
    """A machine of eight cores with this many GPUs."""
    return Host(
        name="box",
        environ=environ or {},
        devices=gpus(devices) if isinstance(devices, int) else devices,
        cores=cores,
        python="/py",
        cwd=cwd,
        probe=probe or Still(),
    )
