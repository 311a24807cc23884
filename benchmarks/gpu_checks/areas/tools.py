"""Tools that show devices or choose them: idle devices, binding, `env`, `ps` and `top`."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu_checks.bench import GIB, Bench, Done, gib
from benchmarks.gpu_checks.check import NotSeenError, Row, check, not_seen, row
from benchmarks.gpu_checks.driver import number, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

HELD = 3.0
SYS = Path("/sys")
GPUS = Path("/proc/driver/nvidia/gpus")


@check("Idle devices are chosen, busy ones refused", seconds=120, needs=("cuda", "driver"))
def idle(bench: Bench) -> Iterator[Row]:
    """Ask for an idle device while something holds memory on the first, and again after that."""
    many = max(len(bench.facts.get("devices", ())), 1)

    def asked(count: int) -> Done:
        return bench.launch(f"-q --gpu_ids idle:{count} --num_processes {count}", "visible.py", seconds=45)

    done = asked(many)
    if done.status and re.search(r"devices (is|are) idle", done.err):
        raise NotSeenError(f"somebody else uses a device: {done.last}")
    yield row("gpu_ids idle takes devices that nobody uses", f"{many} ranks", f"{len(done.told)} ranks")
    with bench.running(
        "--num_processes 1 --report idle.json", "hold.py", bench.device, f"{bench.amount(HELD)}"
    ) as run:
        rank = run.wait_for("held", 60)
        done = asked(many)
        named = re.search(r"pid \d+|[\d.]+ GiB are held", done.err)
        claim = "A launch that finds too few idle devices is refused, with who uses the others"
        expected = f"status 2: pid {rank['pid']}, or the memory that is held"
        yield row(claim, expected, done.last, done.status == 2 and named is not None)
        if many > 1:
            done = asked(many - 1)
            seen = {uuid for one in done.told for uuid in one["uuids"] or ()}
            right = len(seen) == many - 1 and bench.uuid.removeprefix("GPU-") not in seen
            yield row(
                "The devices that are idle are chosen", "all but the first", ", ".join(seen) or done.last, right
            )
    with bench.running(f"--num_processes {many} --gpu_ids idle:{many}", "hold.py", "cpu", "0") as run:
        run.wait_for("held", 60)
        done = asked(many)
        claim = "A device that another launch has taken isn't idle, though that holds nothing"
        yield row(claim, "status 2: taken by the launch with pid ...", done.last,
                  done.status == 2 and f"taken by the launch with pid {run.process.pid}" in done.err)  # fmt: skip
    free = wait_for(lambda: asked(many).status == 0, 30, pace=1)
    shown = "it isn't" if free is None else f"after {free:.0f} s"
    yield row("The device is idle again after the run", "within 30 s", shown, free is not None)


@check("--bind numa takes the CPUs near the device", seconds=60, needs=("device",), rehearsed=False)
def binding(bench: Bench) -> Iterator[Row]:
    """Hold the rank's CPUs to those that the kernel lists for the device's address."""
    gpu = next((gpu for gpu in bench.gpus if gpu.uuid == bench.uuid), None)
    folder = SYS / "bus/pci/devices" / (gpu.pci if gpu else "")
    try:
        node, listed = ((folder / name).read_text().strip() for name in ("numa_node", "local_cpulist"))
    except OSError:
        raise NotSeenError("the kernel has no folder for the device's PCI address") from None
    done = bench.launch("--num_processes 1 --bind numa", "visible.py", seconds=30)
    if not done.told:
        raise RuntimeError(done.last)
    allowed, cpus = os.sched_getaffinity(0), set(done.told[0]["cpus"])
    if not expand(listed) & allowed:
        raise NotSeenError(f"no CPU near the device is allowed here: {listed}")
    if node == "-1" or not (SYS / "devices/system/node/node1").exists():
        claim, shown = (
            "Without several NUMA nodes a rank isn't bound to a part",
            f"{len(cpus)} of {len(allowed)} CPUs",
        )
        yield row(claim, "all allowed CPUs", shown, cpus == allowed)
        yield not_seen("--bind numa takes the CPUs near the device", f"one NUMA node (numa_node {node})")
        return
    near = expand(listed) & allowed
    yield row("--bind numa takes the CPUs near the device", f"{listed}", f"{sorted(cpus)}", cpus == near)


def expand(listed: str) -> set[int]:
    """Return the numbers of the kernel's list of CPUs."""
    ends = [part.partition("-") for part in listed.split(",") if part]
    return {cpu for first, _, last in ends for cpu in range(int(first), int(last or first) + 1)}


@check("accelerate env shows the card and its driver", seconds=60, needs=("device", "driver"), rehearsed=False)
def env(bench: Bench) -> Iterator[Row]:
    """Hold its JSON to nvidia-smi."""
    names = [one["name"] for one in bench.facts.get("devices", ())]
    found = json.loads(bench.run(bench.ours("env", "--json", *["--torch"] * bool(names)), 50).out)
    gpus = bench.gpus
    if not gpus or gpus[0].driver is None:
        raise NotSeenError("nvidia-smi doesn't tell model and driver")
    claims = ("accelerate env names the driver of nvidia-smi", "accelerate env names each visible device's model")
    if not GPUS.is_dir():
        yield from (not_seen(claim, "the driver's folder /proc/driver/nvidia/gpus isn't here") for claim in claims)
    else:
        yield row(claims[0], gpus[0].driver, found.get("NVIDIA driver", "none"))
        devices = found["Devices"]
        lines: list[str] = [devices] if isinstance(devices, str) else devices
        visible = names or [gpu.name for gpu in gpus]
        right = len(lines) == len(visible) and all(name in line for name, line in zip(visible, lines, strict=True))
        yield row(claims[1], ", ".join(visible), ", ".join(lines), right)
    if names:
        shown: dict[str, Any] | str = found["torch"]  # or why it can't be imported
        seen = shown if isinstance(shown, str) else shown["devices"]
        yield row("accelerate env --torch shows the devices of torch", names, seen)


@check("ps and top show what a rank holds", seconds=120, needs=("cuda", "driver"))
def ps_and_top(bench: Bench) -> Iterator[Row]:
    """Leave a run that holds memory, and look at it from outside."""
    from accel_launch.machine.device_memory import PATIENCE

    wanted = bench.amount(HELD)
    name = f"gpu-check-{os.getpid()}"
    flags = f"--num_processes 1 --name {name}"
    with bench.running(flags, "hold.py", bench.device, f"{wanted}") as run:
        told = run.wait_for("held", 60)
        asked = time.monotonic()
        theirs = bench.driver.holders().get(told["pid"])
        taken = time.monotonic() - asked
        if taken > 0.6 * PATIENCE:
            raise NotSeenError(f"nvidia-smi takes {taken:.1f} s to answer, and ps and top wait {PATIENCE:g} s")
        if theirs is None:
            raise NotSeenError("nvidia-smi tells no memory for the rank's pid (a container with pids of its own)")
        time.sleep(3)  # the record takes a sample a second
        found = wait_for(lambda: held_by(bench, name) is not None, 30, pace=1)
        ours = held_by(bench, name) if found is not None else None
        claim = "ps shows the device memory of a run"
        yield row(claim, gib(theirs), gib(ours), ours is not None and abs(ours - theirs) < 0.05 * GIB)
        done = bench.run(bench.ours("top", name), 30, {"TERM": "dumb", "COLUMNS": "160"})
        line = next((line for line in done.out.splitlines() if line.split()[:1] == ["0"]), done.last)
        sizes = [float(size) * {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": GIB}[unit]
                 for size, unit in re.findall(r"([\d.]+) (MB|GB|MiB|GiB)", line)]  # fmt: skip
        near = any(abs(size - theirs) < 0.08 * theirs for size in sizes)
        yield row("top shows the device memory of a rank", gib(theirs), line, near)
        claim = "top shows how busy the device is"
        busy = bench.driver.query("gpu", "gpu_uuid", "utilization.gpu") or [{}]
        if number(busy[0].get("utilization.gpu")) is None:
            yield not_seen(claim, "nvidia-smi doesn't tell utilization.gpu")
        else:
            yield row(claim, "a percentage", line, re.search(r"\d+ ?%", line) is not None)


def held_by(bench: Bench, name: str) -> float | None:
    """Return the bytes of devices that `accelerate ps` shows for a run."""
    runs = json.loads(bench.run(bench.ours("ps", "--json"), 30).out or "[]")
    found = next((one["device_memory"] for one in runs if one["name"] == name), None)
    return float(found) if found else None
