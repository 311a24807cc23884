"""Advice on a failed check of `accelerate test`: the settings that affect it, and what to try."""

from __future__ import annotations

from accel_config.record import Record
from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from accel_cli.trial.results import Row
    from accel_config.settings.resolved import Settings


class Advice(Record):
    """The settings that affect the checks whose names begin alike, and what to try."""

    checks: tuple[str, ...]
    settings: tuple[str, ...]
    tries: str


UNFINISHED = (
    "a rank ended during this check; see below how it ended. If it was out of memory (killed by the OOM killer), run "
    "fewer ranks (num_processes)."
)
PLACES = ("num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port")
ADVICE = (
    Advice(
        ("torch",),
        ("python",),
        "install torch for the ranks' interpreter, or name an interpreter that has it with --python.",
    ),
    Advice(
        ("device",),
        ("gpu_ids", "num_processes", "cpu"),
        "compare the devices that `accelerate launch --dry_run x.py` prints with those that torch sees: "
        "python -c 'import torch; print(torch.accelerator.device_count())'. A torch built for the CPU sees none. "
        "Run the test with --cpu to check everything else.",
    ),
    Advice(
        ("process group", "ranks", "barrier"),
        PLACES,
        "the ranks can't connect to each other. On one machine, leave main_process_ip and main_process_port unset. "
        "On several machines, the address must be one at which the others reach machine 0, and the port must be "
        "open; set GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME to choose the network.",
    ),
    Advice(
        ("collectives",),
        ("num_processes", "gpu_ids", "cpu"),
        "ranks exchange wrong values, or none. On NVIDIA devices, set NCCL_P2P_DISABLE=1, then NCCL_SHM_DISABLE=1; "
        "NCCL_DEBUG=INFO shows NCCL's choices. Run the test with --cpu to check the ranks without the devices.",
    ),
    Advice(
        ("training float16", "training bfloat16"),
        ("mixed_precision", "dynamo_backend"),
        "training in this format gives wrong results on this device; set mixed_precision to no, or to the other of "
        "bf16 and fp16.",
    ),
    Advice(
        ("training", "sampling", "random state"),
        ("num_processes", "use_fsdp", "cpu"),
        "run the test with --num_processes 1. If it passes, the ranks exchange wrong values; if it fails, the cause "
        "is the device or torch.",
    ),
    Advice(
        ("checkpoint", "sharded checkpoint"),
        (),
        "check the free space and the permissions of the folder for temporary files (TMPDIR).",
    ),
    Advice(
        ("library",),
        ("distributed_type", "mixed_precision", "num_processes"),
        "our own checks passed, so devices and connections work; check the versions of accelerate and torch.",
    ),
)


def diagnose(rows: Iterable[Row], settings: Settings, devices: Mapping[int, str | None]) -> str:
    """Return the advice for the first row that failed or didn't finish; an empty text if there is none.

    ``devices`` holds the devices of this machine's ranks, None for the CPU.
    """
    row = next((row for row in rows if row.state in ("failed", "begun")), None)
    if row is None:
        return ""
    ranks = sorted({*row.bad, *row.inside})
    where = ", ".join(f"rank {rank} ({_device(rank, devices)})" for rank in ranks) or "a rank that never began it"
    lines = [f"first problem: {row.name}, on {where}"]
    advice = next((advice for advice in ADVICE if row.name.startswith(advice.checks)), None)
    if advice is not None:
        values = [(name, settings.value(name)) for name in advice.settings]
        shown = [one_line(f"{name} {value.value} ({value.origin})") for name, value in values]
        lines += [f"  settings: {', '.join(shown)}"] if shown else []
        lines.append(f"  try: {advice.tries if row.state == 'failed' else UNFINISHED}")
    return "".join(f"{line}\n" for line in lines)


def _device(rank: int, devices: Mapping[int, str | None]) -> str:
    return (devices[rank] or "CPU") if rank in devices else "on another machine"
