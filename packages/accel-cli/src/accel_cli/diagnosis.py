"""What to look at when a check of `accelerate test` fails: the settings that bear on it, and what to try."""

from __future__ import annotations

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from accel_config.settings import Settings

    from .results import Row


class Advice(Record):
    """What bears on checks whose names begin alike."""

    checks: tuple[str, ...]
    settings: tuple[str, ...]
    tries: str


UNFINISHED = (
    "a rank ended in the middle of this, and how is told below; one that is killed for want of memory needs fewer "
    "beside it (num_processes)."
)
PLACES = ("num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port")
ADVICE = (
    Advice(
        ("torch",),
        ("python",),
        "install torch into the ranks' interpreter, or name one that has it with --python.",
    ),
    Advice(
        ("device",),
        ("gpu_ids", "num_processes", "cpu"),
        "compare what `accelerate launch --dry_run x.py` says of devices with what torch sees: "
        "python -c 'import torch; print(torch.accelerator.device_count())'. A torch built for the CPU sees none. "
        "--cpu tells whether all else works.",
    ),
    Advice(
        ("process group", "ranks", "barrier"),
        PLACES,
        "the ranks don't meet. On one machine, leave main_process_ip and main_process_port unset. On several, the "
        "address must be machine 0's as the others see it, the port open, and GLOO_SOCKET_IFNAME or "
        "NCCL_SOCKET_IFNAME may have to name the network.",
    ),
    Advice(
        ("collectives",),
        ("num_processes", "gpu_ids", "cpu"),
        "ranks exchange wrong values, or none. With NVIDIA's devices try NCCL_P2P_DISABLE=1, then NCCL_SHM_DISABLE=1 "
        "and NCCL_DEBUG=INFO to see what it chooses. With --cpu it should work whatever the devices do.",
    ),
    Advice(
        ("training float16", "training bfloat16"),
        ("mixed_precision", "dynamo_backend"),
        "training in this format is off on this device: mixed_precision no, or the other of bf16 and fp16.",
    ),
    Advice(
        ("training", "sampling", "random state"),
        ("num_processes", "use_fsdp", "cpu"),
        "--num_processes 1: if that works, what the ranks exchange is wrong; if not, it is the device or torch.",
    ),
    Advice(
        ("checkpoint", "sharded checkpoint"),
        (),
        "look at the room and the rights in the folder for temporary files (TMPDIR).",
    ),
    Advice(
        ("library",),
        ("distributed_type", "mixed_precision", "num_processes"),
        "devices and connections are well, by our own checks: look at the versions of the library and of torch.",
    ),
)


def diagnose(rows: Iterable[Row], settings: Settings, devices: Mapping[int, str | None]) -> str:
    """Return what to look at for the first row that isn't well; nothing where all are.

    ``devices`` holds those of this machine's ranks, None for the CPU.
    """
    row = next((row for row in rows if row.state in ("failed", "begun")), None)
    if row is None:
        return ""
    ranks = sorted({*row.bad, *row.inside})
    where = ", ".join(f"rank {rank} ({_device(rank, devices)})" for rank in ranks) or "a rank that never began it"
    lines = [f"first trouble: {row.name}, on {where}"]
    advice = next((one for one in ADVICE if row.name.startswith(one.checks)), None)
    if advice is not None:
        known = [settings.value(name) for name in advice.settings]
        told = [f"{name} {value.value} ({value.origin})" for name, value in zip(advice.settings, known, strict=True)]
        lines += [f"  settings: {', '.join(told)}"] if told else []
        lines.append(f"  try: {advice.tries if row.state == 'failed' else UNFINISHED}")
    return "".join(f"{line}\n" for line in lines)


def _device(rank: int, devices: Mapping[int, str | None]) -> str:
    return (devices[rank] or "CPU") if rank in devices else "on another machine"
