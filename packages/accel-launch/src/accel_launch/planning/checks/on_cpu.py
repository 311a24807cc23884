"""What Hugging Face's library does otherwise on the CPU than it is asked to, without a word: told before it starts.

Read in accelerate 1.15 (`AcceleratorState` and `Accelerator`), and held by a test that runs it.
"""

from __future__ import annotations

from accel_config.catalogue import Fp8, Fsdp, Precision
from accel_config.settings.paradigm import paradigm
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings
    from accel_launch.planning.findings import Findings
    from accel_launch.planning.layout import Layout

LIBRARY = "Hugging Face's accelerate"
# It takes these modes only from ranks that have accelerators.
NEEDS_DEVICES = {"FSDP": "", "MEGATRON_LM": "", "DEEPSPEED": "; leave out --cpu to use DeepSpeed on the CPU"}
# Backends of fp8 that compute on NVIDIA's GPUs alone.
GPU_ONLY = ("TE", "MSAMP")


def check(settings: Settings, layout: Layout, findings: Findings) -> None:
    """Note what a script that uses the library will get instead, on a machine where its ranks have no device."""
    if layout.devices or layout.kind == "XLA":
        return
    mode = paradigm(settings)
    # DeepSpeed runs on the CPU as long as the library isn't told to use the CPU.
    replaced = layout.kind in NEEDS_DEVICES and (layout.kind != "DEEPSPEED" or mode.cpu)
    fsdp = settings[Fsdp]
    if layout.kind == "FSDP" and fsdp.fsdp_version == 1 and fsdp.fsdp_sync_module_states:
        findings.notes.append(
            f"{layout.kind} ({mode.origin}) with {describe(settings, 'fsdp_sync_module_states')}: on the CPU "
            f"{LIBRARY} fails; give --fsdp_version 2, or --fsdp_sync_module_states false and "
            "--fsdp_cpu_ram_efficient_loading false"
        )
    if replaced:
        instead = "DDP" if layout.total > 1 else "one process without sharding"
        findings.notes.append(
            f"{layout.kind} ({mode.origin}): on the CPU {LIBRARY} trains with {instead}; only a script that shards "
            f"by itself (such as with fully_shard) is sharded{NEEDS_DEVICES[layout.kind]}"
        )
    precision = settings[Precision].mixed_precision
    if precision == "fp16" and not _metal(layout) and (replaced or layout.kind != "DEEPSPEED"):
        findings.notes.append(
            f"{describe(settings, 'mixed_precision')}: on the CPU {LIBRARY} trains in full precision; use bf16"
        )
    if precision == "fp8" and settings[Fp8].fp8_backend in GPU_ONLY:
        findings.notes.append(
            f"{describe(settings, 'mixed_precision', 'fp8_backend')}: this backend needs a GPU; on the CPU use "
            "--fp8_backend AO or bf16"
        )


def _metal(layout: Layout) -> bool:
    """Return whether the ranks use a Mac's GPU, which isn't found as a device."""
    from accel_launch.ranks.system import calls

    return calls.METAL and not layout.cpu
