"""What the wizard says beyond its questions: what a choice costs, and which answers the machine contradicts."""

from __future__ import annotations

from accel_config.catalogue import Fsdp, Hardware, Resources
from accel_config.catalogue.fsdp import STRATEGIES
from accel_config.catalogue.hardware import MULTI_DEVICE
from accel_config.settings.paradigm import paradigm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_config.settings.machine import MachineFacts
    from accel_config.settings.resolved import Settings

INSIST = "Keep this answer all the same, for another machine?"

PARAMETER, GRADIENT, ADAM = 4, 4, 8
STATE = PARAMETER + GRADIENT + ADAM
"""Bytes for each parameter in float32: itself, its gradient, and what Adam keeps."""
CORES = 2  # of a TPU chip of v2 and v3; configs written for them count cores as processes
BASIS = "Memory: bytes of a rank for each parameter, in float32 with Adam, without activations."


def _counts(settings: Settings) -> tuple[int, int]:
    """Return the ranks of the run, and those of one machine."""
    ranks = settings[Resources].num_processes or 1
    machines = settings.value("num_machines").value
    return ranks, max(1, ranks // machines) if isinstance(machines, int) else ranks


def _bytes(number: float) -> str:
    return f"{number:.3g} bytes"


def _strategies(settings: Settings) -> str:
    """Return what each way to shard costs, beside a copy of the model on each rank (DDP)."""
    ranks, local = _counts(settings)

    def full(parts: int) -> str:
        return _bytes(STATE / parts)

    def kept(parts: int) -> str:
        return _bytes(PARAMETER + STATE / parts)

    twice = "gathers parameters twice a step: 1.5 times DDP's traffic"
    once = "gathers parameters once a step: DDP's traffic; faster"
    if settings[Fsdp].fsdp_version != 1:
        rows = [("true", full(ranks), twice), ("false", kept(ranks), once)]
    else:
        within = "the same within a machine; less between machines"
        costs = (
            (full(ranks), twice),
            (kept(ranks), once),
            (_bytes(STATE), "a copy on each rank, as DDP: its traffic"),
            (full(local), within),
            (kept(local), within),
        )
        rows = [(name, *cost) for name, cost in zip(STRATEGIES, costs, strict=True)]
    width = max(len(name) for name, _memory, _traffic in rows)
    return "\n".join([BASIS, *(f"{name:<{width}}  {memory:>10}  {traffic}" for name, memory, traffic in rows)])


def _stages(settings: Settings) -> str:
    """Return what each ZeRO stage costs."""
    ranks, _local = _counts(settings)
    rows = (
        (STATE, "nothing is divided, as DDP: its traffic"),
        (PARAMETER + GRADIENT + ADAM / ranks, "optimizer states are divided: DDP's traffic"),
        (PARAMETER + (GRADIENT + ADAM) / ranks, "gradients too: DDP's traffic"),
        (STATE / ranks, "parameters too: 1.5 times DDP's traffic; slower on a slow network"),
    )
    return "\n".join([BASIS, *(f"{stage}  {_bytes(size):>10}  {what}" for stage, (size, what) in enumerate(rows))])


ADVICE: dict[str, Callable[[Settings], str]] = {
    "fsdp_version": lambda _settings: (
        "2 (fully_shard, one DTensor for each parameter) is what torch develops; 1 is for older checkpoints and code."
    ),
    "fsdp_reshard_after_forward": _strategies,
    "zero_stage": _stages,
    "fsdp_offload_params": lambda _settings: (
        "Frees the device of parameters, gradients and optimizer states; each step then waits for copies from and to "
        "CPU memory, and the optimizer runs on the CPU. Much slower."
    ),
    "fsdp_activation_checkpointing": lambda _settings: (
        "Keeps a fraction of the activations; each step computes the forward pass twice, so it takes about a third "
        "longer."
    ),
    "mixed_precision": lambda settings: (
        "bf16 has the range of float32 and needs no loss scaling, but devices made for it "
        "(NVIDIA: Ampere and newer). fp16 runs on older ones."
        + (" FSDP gathers parameters in this format too: half the traffic." if _sharded(settings) else "")
    ),
}
"""What is printed before the question about a setting, from the settings as answered so far."""


def _sharded(settings: Settings) -> bool:
    return paradigm(settings).kind == "FSDP"


def _type(settings: Settings, machine: MachineFacts) -> str:
    kind = paradigm(settings).kind
    wanted = "TPU" if kind == "XLA" else kind.removeprefix("MULTI_") if kind in MULTI_DEVICE else ""
    if not wanted or wanted == machine.kind or settings[Hardware].compute_environment == "AMAZON_SAGEMAKER":
        return ""
    found = f"; its {machine.count} accelerators are of the kind {machine.kind}" if machine.kind else ""
    return f"This machine has no {wanted}{found}"


def _processes(settings: Settings, machine: MachineFacts) -> str:
    _ranks, local = _counts(settings)
    kind = paradigm(settings).kind
    if kind == "MULTI_CPU" and local > machine.cores:
        return f"This machine has {machine.cores} cores for {local} processes, which slow each other down"
    if kind == "XLA" and machine.kind == "TPU" and local not in (1, machine.count, CORES * machine.count):
        return f"This machine has {machine.count} TPU chips, and torch_xla starts a process on each, not {local}"
    if kind == f"MULTI_{machine.kind}" and local > machine.count:
        return f"This machine has {machine.count} devices of the kind {machine.kind} for {local} processes"
    return ""


def _cpu(settings: Settings, machine: MachineFacts) -> str:
    return "" if settings[Hardware].cpu or machine.count else "This machine has no GPU or other accelerator"


def _ids(settings: Settings, machine: MachineFacts) -> str:
    entries = [entry.strip() for entry in (settings[Resources].gpu_ids or "").split(",")]
    absent = [entry for entry in entries if entry.isdecimal() and int(entry[:9]) >= machine.count]
    if not absent or not machine.count:
        return ""
    return f"This machine has {machine.count} devices, numbered from 0, and none with the id {', '.join(absent)}"


DOUBTS: dict[str, Callable[[Settings, MachineFacts], str]] = {
    "distributed_type": _type,
    "cpu": _cpu,
    "num_processes": _processes,
    "gpu_ids": _ids,
}
"""Why the machine contradicts an answer, from the settings with that answer; empty where it doesn't."""
