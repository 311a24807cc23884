"""Made-up machines, for plans that a test can read."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from accel_launch.devices import Device
from accel_launch.host import Host, Machine
from accel_launch.route import Route

INSTALLED = ("torch", "deepspeed", "megatron", "torchao")


class Still(Machine):
    """A machine whose answers are fixed: nothing is asked of the real one."""

    def __init__(
        self, busy: tuple[int, ...] = (), modules: tuple[str, ...] = INSTALLED, programs: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self._busy, self._modules, self._programs = busy, modules, programs

    def free_port(self) -> int:
        return 40001

    def busy(self, port: int) -> bool:
        return port in self._busy

    def route(self, address: str, *, look_up: bool) -> Route | None:
        return Route("eth1", "10.0.0.7") if address.startswith("10.") or look_up else None

    def elsewhere(self, address: str) -> bool:
        return address.startswith("192.0.2.")

    def met(self, environ: Mapping[str, str], rank: int) -> tuple[str, str] | None:  # noqa: ARG002 - asks nobody
        return None

    def first_host(self) -> str:
        return ""

    def herald(self, port: int, word: str, askers: int) -> bool:  # noqa: ARG002 - tells nobody
        return False

    def heard(self, hosts: tuple[str, ...], port: int, word: str) -> str | None:  # noqa: ARG002 - asks nobody
        return None

    def answers(self, address: str, port: int) -> bool:  # noqa: ARG002 - asks nobody
        return False

    def listening(self, pid: int) -> frozenset[int]:  # noqa: ARG002 - asks nobody
        return frozenset()

    def callers(self, ports: Collection[int]) -> tuple[str, ...]:  # noqa: ARG002 - asks nobody
        return ()

    def module(self, name: str) -> bool:
        return name in self._modules

    def program(self, name: str) -> str | None:
        return f"/bin/{name}" if name in self._programs else None


def gpus(count: int, kind: str = "GPU") -> tuple[Device, ...]:
    return tuple(Device(kind, str(place), uuid=f"GPU-{place}abc") for place in range(count))


def host(
    devices: int | tuple[Device, ...] = 0,
    environ: dict[str, str] | None = None,
    cores: int = 8,
    machine: Machine | None = None,
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
        machine=machine or Still(),
    )
