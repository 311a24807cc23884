"""Runs on a device: backends, precisions, sharding, Hugging Face's library, one import for all ranks."""

from __future__ import annotations

import re
import statistics
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.gpu_checks.bench import RANKS, ROOT, Bench, Done
from benchmarks.gpu_checks.check import Row, check, not_seen, row

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = ROOT / "examples"
FSDP = "--use_fsdp --fsdp_version 2 --num_processes 1"
"""One rank with the variables of a process group."""


def accurate(done: Done, least: float) -> tuple[str, bool]:
    """Return what an example says of its accuracy, and whether it has learned."""
    line = next((line for line in reversed(done.out.splitlines()) if line.startswith("accuracy")), "")
    found = re.match(r"accuracy (\d\.\d+)", line)
    return (line or done.last), found is not None and done.status == 0 and float(found[1]) >= least


@check("The README's example trains on the device", seconds=90, needs=("cuda", "torch", "sklearn"))
def readme(bench: Bench) -> Iterator[Row]:
    """Run it with one rank."""
    done = bench.launch("--num_processes 1", EXAMPLES / "train_digits.py", "--epochs", "3")
    yield row("The README's example trains on the device", "accuracy of 0.6 and more", *accurate(done, 0.6))


@check("One rank reduces over nccl", seconds=90, needs=("cuda", "torch"))
def nccl(bench: Bench) -> Iterator[Row]:
    """Make NCCL's communicator of one rank."""
    done = bench.launch(f"-q {FSDP}", "together.py", bench.device, "nccl")
    seen = done.told[0] if done.told else {}
    expected = "gloo" if bench.rehearse else "nccl"
    yield row(
        "One rank reduces over nccl", f"{expected}: 1.0", f"{seen['backend']}: {seen['sum']}" if seen else done.last
    )


@check("Two ranks share a device by gloo, and are refused by default", seconds=120, needs=("cuda", "torch", "shared"))
def two_on_one(bench: Bench) -> Iterator[Row]:
    """Say that there are more devices than the driver lists: both ranks take the first."""
    many = max(len(bench.facts.get("devices", ())), 1) + 1
    done = bench.launch(f"--num_processes {many}", "together.py", bench.device, "gloo", seconds=30)
    refused = done.status == 2 and "there are only" in done.err
    yield row("More ranks than devices are refused", "status 2: there are only", done.last, refused)
    done = bench.launch("-q --num_processes 2", "together.py", bench.device, "gloo", variables=bench.shared)
    seen = sorted({f"{one['backend']}: {one['sum']} on {one['device']}" for one in done.told})
    where = "cpu" if bench.rehearse else "cuda:0"
    right = seen == [f"gloo: 3.0 on {where}"] and len(done.told) == 2
    yield row(
        "num_devices lets two ranks share a device, over gloo", f"gloo: 3.0 on {where}", seen or done.last, right
    )


@check("Ranks on several devices reduce over nccl", seconds=120, needs=("cuda", "torch", "sklearn", "two devices"))
def several(bench: Bench) -> Iterator[Row]:
    """Reduce over all devices, and train there; a rehearsal has two ranks."""
    many = 2 if bench.rehearse else len(bench.facts["devices"])
    more = {"ACCELERATE_LAUNCH_NUM_DEVICES": "2"} if bench.rehearse else {}
    done = bench.launch("-q", "together.py", bench.device, "nccl", variables=more)
    sums = sorted({f"{one['backend']}: {one['sum']}" for one in done.told})
    seen = f"{', '.join(sums)} on {len({one['device'] for one in done.told})} devices" if sums else done.last
    where, devices = ("gloo", 1) if bench.rehearse else ("nccl", many)
    expected = f"{where}: {sum(range(many + 1))}.0 on {devices} devices"
    yield row("Without settings, a rank on each device reduces over nccl", expected, seen)
    claim = "The README's example trains on all devices"
    if bench.rehearse:
        yield not_seen(claim, "runs.readme rehearses it with one rank")
        return
    shown, right = accurate(bench.launch("", EXAMPLES / "train_digits.py", "--epochs", "3"), 0.5)
    yield row(claim, f"accuracy of 0.5 and more, {many} ranks", shown, right and f" {many} ranks" in shown)


@check("bf16 and fp16 train", seconds=120, needs=("cuda", "torch"))
def precision(bench: Bench) -> Iterator[Row]:
    """Train by autocast in what the launcher exports."""
    for name, kind in {"bf16": "bfloat16", "fp16": "float16"}.items():
        claim = f"mixed_precision {name} reaches the script, and training in it learns"
        if name == "bf16" and not bench.rehearse and not bench.facts["bf16"]:
            yield not_seen(claim, "this device has no bfloat16")
            continue
        done = bench.launch(f"-q --num_processes 1 --mixed_precision {name}", "precise.py", bench.device)
        seen = done.told[0] if done.told else {}
        right = bool(seen) and seen["computed"] == kind and seen["last"] < seen["first"]
        shown = f"{seen['computed']}, loss {seen['first']:.2f} to {seen['last']:.2f}" if seen else done.last
        yield row(claim, f"{kind}, a loss that falls", shown, right)


@check("FSDP2 shards with one rank", seconds=90, needs=("cuda", "torch", "sklearn"))
def fsdp2(bench: Bench) -> Iterator[Row]:
    """Run the example, in bf16."""
    done = bench.launch(f"{FSDP} --mixed_precision bf16", EXAMPLES / "train_fsdp2.py", "--epochs", "3")
    yield row("The example of FSDP2 trains with one rank", "accuracy of 0.6 and more", *accurate(done, 0.6))


@check("Hugging Face's Accelerator trains", seconds=120, needs=("cuda", "torch", "sklearn", "accelerate"))
def accelerator(bench: Bench) -> Iterator[Row]:
    """Run the example in bf16, which the library has to take from the launcher."""
    script = EXAMPLES / "train_digits_accelerate.py"
    done = bench.launch("--num_processes 1 --mixed_precision bf16", script, "--epochs", "3")
    seen, right = accurate(done, 0.6)
    yield row(
        "The example of Accelerator trains, in the launcher's precision",
        "accuracy of 0.6 and more, precision bf16",
        seen,
        right and "precision bf16" in seen,
    )


@check(
    "The Trainer of transformers trains",
    seconds=150,
    needs=("cuda", "torch", "sklearn", "accelerate", "transformers"),
)
def trainer(bench: Bench) -> Iterator[Row]:
    """Run the example."""
    done = bench.launch("--num_processes 1", EXAMPLES / "train_digits_trainer.py", "--epochs", "2", seconds=140)
    yield row("The example of the Trainer trains", "accuracy of 0.3 and more", *accurate(done, 0.3))


@check("--preload torch: ranks forked with torch use the device", seconds=120, needs=("cuda", "torch", "shared"))
def preload(bench: Bench) -> Iterator[Row]:
    """Fork two ranks that both take the first device; CUDA in the fork server would break them."""
    done = bench.launch("--num_processes 2 --preload torch", "kernel.py", bench.device, variables=bench.shared)
    notes = [line for line in done.err.splitlines() if "not preloaded" in line]
    claim = "--preload torch forks ranks that have torch"
    yield row(
        claim, "preloaded, preloaded", ", ".join(notes or ["preloaded"] * sum(one["preloaded"] for one in done.told))
    )
    claim = "CUDA isn't initialized where ranks are forked"
    bad = [one for one in done.told if one["initialized"] or one["forked_badly"]]
    yield row(claim, "in none of 2", f"in {len(bad) or 'none'} of {len(done.told)}" if done.told else done.last)
    claim = "Forked ranks compute on the device"
    seen = [f"{one['total']:.0f} on {one['device']}" for one in done.told]
    where = "cpu" if bench.rehearse else "cuda:0"
    yield row(claim, f"2 times {256**3} on {where}", seen or done.last, seen == [f"{256**3} on {where}"] * 2)
    done = bench.launch("--num_processes 2 --preload initializes", "kernel.py", bench.device, variables=bench.shared)
    notes = [line for line in done.err.splitlines() if "not preloaded: initializes" in line]
    claim = "A module that initializes CUDA isn't preloaded, and ranks start all the same"
    shown = f"{notes[:1] or done.last}, {len(done.told)} ranks"
    yield row(claim, "not preloaded: initializes ..., 2 ranks", shown, bool(notes) and len(done.told) == 2)


@check("--preload shortens the time to a first kernel", seconds=150, needs=("cuda", "torch", "shared"))
def first_kernel(bench: Bench) -> Iterator[Row]:
    """Start two ranks in each way, in turns, until the last one's first kernel has run."""
    ours = bench.ours("launch", "-q", "--num_processes", "2")
    script = [str(RANKS / "kernel.py"), bench.device]
    ways = {
        "a plain start": [*ours, *script],
        "--preload torch": [*ours, "--preload", "torch", *script],
        "torchrun": [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *script],
    }
    rounds = 1 if bench.rehearse else 2
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _round in range(rounds):
        for way, words in ways.items():
            begun = time.time()
            told = bench.run(words, 45, bench.shared).told
            if len(told) != 2:
                raise RuntimeError(f"{way}: {len(told)} of 2 ranks told their first kernel")
            times[way].append(max(one["at"] for one in told) - begun)
    middle = {way: statistics.median(each) for way, each in times.items()}
    shown = ", ".join(f"{way} {seconds:.2f} s" for way, seconds in middle.items())
    for way, most in {"--preload torch": middle["a plain start"], "a plain start": middle["torchrun"]}.items():
        other = "a plain start" if way != "a plain start" else "torchrun"
        claim = f"Two ranks have run a first kernel with {way} sooner than with {other}"
        if bench.rehearse:
            yield not_seen(claim, f"a rehearsal measures nothing; {shown}")
        else:
            yield row(claim, f"less than {most:.2f} s", shown, middle[way] < most, number=middle[way], unit="s")


@check("accelerate test passes on the device", seconds=180, needs=("cuda", "torch"))
def test(bench: Bench) -> Iterator[Row]:
    """Run its checks with one rank; the line that counts them is the last but those of Hugging Face's own."""
    done = bench.run(bench.ours("test", "--num_processes", "1"), 170)
    counted = re.findall(r"^\d+ checks: .*$", done.out, re.MULTILINE)
    bad = re.findall(r"^  (?:FAILED|UNFINISHED) .*$", done.out, re.MULTILINE)
    device = re.findall(r"^  ok +[\d.]+ s +device +(\S+)", done.out, re.MULTILINE)
    where = "cpu" if bench.rehearse else "cuda:0"
    yield row(
        "accelerate test passes on the device",
        f"status 0, no check fails, device {where}",
        "; ".join([f"status {done.status}", *counted, *bad, f"device {', '.join(device)}"]),
        done.status == 0 and bool(counted) and not bad and device[:1] == [where],
    )
