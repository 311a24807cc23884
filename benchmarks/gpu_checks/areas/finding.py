"""Finding devices and narrowing them: by the launcher, by nvidia-smi and by CUDA."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gpu_checks.bench import GIB, named
from benchmarks.gpu_checks.check import NotSeenError, Row, check, not_seen, row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.gpu_checks.bench import Bench, Done

VERSION = Path("/proc/driver/nvidia/version")
FIND = "import os; from accel_launch.machine import devices; print(*{what}, sep='\\n')"


def found(bench: Bench, what: str) -> list[str]:
    """Return a line for each device that the launcher finds; ``what`` says of which, and what of it."""
    done = bench.run([*bench.ours()[:1], "-c", FIND.format(what=what)], 30)
    return [line for line in done.out.splitlines() if line]


@check("The launcher's devices are those of nvidia-smi", seconds=60, needs=("device", "driver"), rehearsed=False)
def order(bench: Bench) -> Iterator[Row]:
    """Hold number, UUIDs, models and PCI addresses, in their order, to the driver's program."""
    gpus = bench.gpus
    if any(gpu.mig == "Enabled" for gpu in gpus):
        raise NotSeenError("MIG is on, so that the devices are slices; see the row of slices")
    ours = [line.split("|") for line in found(bench, "(f'{d.uuid}|{d.model}|{d.pci}' for d in devices.find({}))")]
    yield row("The launcher finds as many devices as nvidia-smi", len(gpus), len(ours))
    for place, (what, theirs) in enumerate(
        {
            "UUIDs": [g.uuid for g in gpus],
            "models": [g.name for g in gpus],
            "PCI addresses": [g.pci for g in gpus],
        }.items()
    ):
        claim = f"{what} and their order are nvidia-smi's"
        seen = [one[place] for one in ours]
        if not any(seen):
            yield not_seen(claim, "the driver's folder /proc/driver/nvidia/gpus isn't here or doesn't tell it")
        elif what == "PCI addresses" and any(gpu.pci == "0000:00:00.0" for gpu in gpus):
            yield not_seen(claim, "nvidia-smi has no addresses in this virtual machine")
        else:
            yield row(claim, ", ".join(theirs), ", ".join(seen))


@check("The driver's version is nvidia-smi's", seconds=60, needs=("device", "driver"), rehearsed=False)
def version(bench: Bench) -> Iterator[Row]:
    """Hold `Host.driver` to the driver's program."""
    ours = bench.run([*bench.ours()[:1], "-c", "from accel_launch import Host; print(Host.here().driver or '')"], 30)
    theirs = next((gpu.driver for gpu in bench.gpus), None)
    if theirs is None or not VERSION.exists():
        raise NotSeenError("nvidia-smi doesn't tell driver_version, or the driver has no /proc/driver/nvidia here")
    yield row("The driver's version is nvidia-smi's", theirs, ours.out.strip() or "not found")


@check("The launcher's devices are torch's", seconds=60, needs=("cuda",), rehearsed=False)
def torch(bench: Bench) -> Iterator[Row]:
    """Hold number, order and bfloat16 to what torch sees in this environment."""
    seen = bench.facts["devices"]
    ours = found(bench, "(f'{d.uuid}|{d.bf16}' for d in devices.find(os.environ))")
    yield row("The launcher counts as many visible devices as torch", len(seen), len(ours))
    uuids = [line.partition("|")[0] for line in ours]
    theirs = [named(one) if one["uuid"] else "" for one in seen]
    claim = "Visible devices are in CUDA's order"
    if not all(uuids) or not all(theirs):
        yield not_seen(claim, "the driver's folder, or this torch, doesn't tell UUIDs")
    else:
        yield row(claim, ", ".join(theirs), ", ".join(uuids))
    if ours and ours[0].partition("|")[0]:
        claim = "bf16 is known by the device's model"
        yield row(
            claim, bench.facts["bf16"], ours[0].endswith("True"), ours[0].endswith("True") == bench.facts["bf16"]
        )


@check("The card is known by its name", seconds=60, needs=("cuda",), rehearsed=False)
def card(bench: Bench) -> Iterator[Row]:
    """Hold the memory and the precisions that the estimates know of a card to what torch finds."""
    from accel_estimate.devices import cards

    one = bench.facts["devices"][0]
    known = cards.named(one["name"])
    if known is None:
        raise NotSeenError(f"the estimates know no {one['name']}; --fits 24GiB names an amount")
    claim, size = "The memory that a card is known with is what torch finds, within 1 %", one["total"] / GIB
    yield row(claim, f"{known.name}: {known.given:.2f} GiB", f"{size:.2f} GiB", abs(size / known.given - 1) < 0.01,
              number=size, unit="GiB")  # fmt: skip
    yield row("A card is known to compute in bf16, or not to", bench.facts["bf16"], known.bf16)


def sees(bench: Bench, done: Done, ids: tuple[str, ...]) -> tuple[str, bool]:
    """Return what a rank saw, and whether these are its devices: by CUDA, in a rehearsal by the variable."""
    if done.status:
        return done.last, False
    told = done.only()
    if told["uuids"] is None:
        if not bench.rehearse:
            raise NotSeenError("libcuda.so.1 isn't found, so CUDA can't be asked without torch")
        return f"CUDA_VISIBLE_DEVICES={told['variable']}", (told["variable"] or "").split(",") == list(ids)
    seen = list(told["uuids"])
    return ", ".join(seen) or "no device", seen == [re.sub("^(GPU|MIG)-", "", one) for one in ids]


@check("A rank of gpu_ids sees that device", seconds=60, needs=("device",))
def ids(bench: Bench) -> Iterator[Row]:
    """Name the first device in every form that gpu_ids has."""
    ours = found(bench, "(f'{d.id}|{d.uuid}' for d in devices.find(os.environ))") if not bench.rehearse else []
    index, _, uuid = (ours or ["0|"])[0].partition("|")
    expected = "0" if bench.rehearse else bench.uuid
    forms = {"an index": index, "a range": f"{index}-{index}"} if index.isdecimal() else {}
    if not bench.rehearse:
        forms |= {"all": "all", "a UUID": uuid}
    if uuid.startswith("GPU-"):  # CUDA takes no part of a slice's
        forms |= {"the beginning of a UUID": uuid[: len("GPU-") + 8]}
    for form, value in forms.items():
        claim = f"A rank of gpu_ids sees that device alone: {form}"
        if not value or not expected:
            why = (
                "the launcher finds no UUID, since /proc/driver/nvidia/gpus isn't here"
                if expected
                else "no UUID is known"
            )
            yield not_seen(claim, why)
            continue
        if form == "all" and len(ours) > 1:
            continue
        done = bench.launch(f"-q --gpu_ids {value} --num_processes 1", "visible.py", seconds=30)
        seen, right = sees(bench, done, (expected,))
        yield row(claim, expected, seen, right)


@check("CUDA_VISIBLE_DEVICES is inherited, and narrowed", seconds=60, needs=("device",))
def inherited(bench: Bench) -> Iterator[Row]:
    """Let the user, or a container, have chosen a device before the launch."""
    uuid = "0" if bench.rehearse else bench.uuid
    done = bench.launch("-q --num_processes 1", "visible.py", seconds=30, variables={"CUDA_VISIBLE_DEVICES": uuid})
    seen, right = sees(bench, done, (uuid,))
    yield row("A rank sees the device of an inherited CUDA_VISIBLE_DEVICES", uuid, seen, right)
    done = bench.launch("-q --num_processes 1", "visible.py", seconds=30, variables={"CUDA_VISIBLE_DEVICES": ""})
    seen, right = sees(bench, done, ("",) if bench.rehearse else ())
    yield row("An empty CUDA_VISIBLE_DEVICES hides every device", "no device", seen, right)
    claim = "gpu_ids can't reach a device that CUDA_VISIBLE_DEVICES hides"
    done = bench.launch("-q --gpu_ids 0 --num_processes 1", "visible.py", variables={"CUDA_VISIBLE_DEVICES": ""})
    seen, right = sees(bench, done, ("",) if bench.rehearse else ())
    yield row(claim, "a refusal, or no device", seen, right or done.status == 2)


@check("A device that isn't there is refused by its id", seconds=30, needs=("device",))
def absent(bench: Bench) -> Iterator[Row]:
    """Ask for more than there is."""
    done = bench.launch("--gpu_ids 99 --num_processes 1", "visible.py", seconds=30)
    yield row(
        "A device that isn't there is refused by its id",
        "status 2: no visible device has the id 99",
        done.last,
        done.status == 2 and "no visible device has the id 99" in done.err,
    )
    many = 2 if bench.rehearse else len(found(bench, "(d.id for d in devices.find(os.environ))")) + 1
    done = bench.launch(f"--num_processes {many}", "visible.py", seconds=30)
    yield row(
        "More ranks than devices are refused before anything starts",
        "status 2: there are only ... devices for ... ranks",
        done.last,
        done.status == 2 and "there are only" in done.err and not done.told,
    )


@check(
    "A slice of a device (MIG) is a device of its own", seconds=60, needs=("device", "driver", "mig"), rehearsed=False
)
def mig(bench: Bench) -> Iterator[Row]:
    """Name a slice by its UUID, where the devices are divided."""
    slices = bench.driver.slices()
    if not slices:
        raise NotSeenError("MIG is on, but no slice has been made")
    name = slices[0]
    done = bench.launch("-q --num_processes 1", "visible.py", seconds=30, variables={"CUDA_VISIBLE_DEVICES": name})
    told = done.only()
    yield row("A rank sees the slice that CUDA_VISIBLE_DEVICES names", 1, len(told["uuids"] or ()))
    done = bench.launch(f"-q --gpu_ids {name} --num_processes 1", "visible.py", seconds=30)
    yield row("gpu_ids takes the UUID of a slice", name, done.told[0]["variable"] if done.told else done.last)


@check("A container's own choice of devices is seen", seconds=30, needs=("device", "driver"), rehearsed=False)
def container(bench: Bench) -> Iterator[Row]:
    """Tell what this environment was given, since every other row depends on it."""
    given = {
        name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")
    }
    gpu = next(iter(bench.gpus), None)
    state = f"MIG {gpu.mig}, compute mode {gpu.compute_mode}" if gpu else "no device"
    shown = ", ".join(f"{name}={value}" for name, value in given.items() if value is not None) or "no variable"
    yield row("(the surroundings)", "what the checks ran with", f"{shown}; {state}", holds=True)
