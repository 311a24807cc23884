"""What Hugging Face's library makes of each mode and precision on the CPU, beside what the launcher has announced."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from accel_launch import plan
from tests import environments
from tests.conftest import BIN, ROOT, Resolve
from tests.launch.hosts import host

CLIENTS = ROOT / "tests" / "clients"
SCRIPT = "from accelerate import Accelerator\nAccelerator()\n"
UNSYNCED = ["--fsdp_sync_module_states", "false", "--fsdp_cpu_ram_efficient_loading", "false"]
DDP, ALONE, FULL = "trains with DDP", "trains with one process without sharding", "trains in full precision"


Case = tuple[list[str], tuple[str, str, bool], str]
CASES: list[Case] = [
    (["--cpu", "--use_fsdp", "--num_processes", "2", *UNSYNCED], ("MULTI_CPU", "no", False), DDP),
    (["--use_fsdp", "--num_processes", "2", *UNSYNCED], ("MULTI_CPU", "no", False), DDP),
    (["--use_fsdp", "--fsdp_version", "2", "--num_processes", "2"], ("MULTI_CPU", "no", False), DDP),
    (["--use_fsdp", "--num_processes", "1", *UNSYNCED], ("NO", "no", False), ALONE),
    (["--cpu", "--use_deepspeed", "--num_processes", "2"], ("MULTI_CPU", "no", False), DDP),
    (["--use_deepspeed", "--num_processes", "1"], ("DEEPSPEED", "no", False), ""),
    (["--cpu", "--mixed_precision", "fp16"], ("NO", "fp16", False), FULL),
    (["--num_processes", "2", "--mixed_precision", "fp16"], ("MULTI_CPU", "fp16", False), FULL),
    (["--mixed_precision", "fp16"], ("NO", "fp16", False), FULL),
    (["--cpu", "--mixed_precision", "bf16"], ("NO", "bf16", True), ""),
    (["--num_processes", "2", "--mixed_precision", "bf16"], ("MULTI_CPU", "bf16", True), ""),
    (["--cpu", "--mixed_precision", "fp8", "--fp8_backend", "AO"], ("NO", "fp8", True), ""),
    (["--cpu", "--dynamo_backend", "inductor"], ("NO", "no", False), ""),
]


# The environment with DeepSpeed and torchao takes minutes to make.
@pytest.mark.stress
@pytest.mark.timeout(900)
def test_what_the_library_does_on_the_cpu_is_announced(tmp_path: Path, environ: dict[str, str]) -> None:
    python = environments.deepspeed() / "python"
    (tmp_path / "told.py").write_text("import json, os\nos.write(1, f'{json.dumps(dict(os.environ))}\\n'.encode())\n")
    told: list[list[str]] = []
    for flags, _made, announced in CASES:
        words = [BIN / "accelerate", "launch", "--python", python, *flags, "told.py"]
        done = subprocess.run(
            [*map(str, words)], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        told.append([json.loads(line) for line in done.stdout.splitlines()])
        notes = [
            line for line in done.stderr.splitlines() if line.startswith("accel: note: ") and "on the CPU Hug" in line
        ]
        assert len(notes) == bool(announced), flags
        assert not announced or announced in notes[0]
    done = subprocess.run(
        [python, CLIENTS / "on_the_cpu.py"], input=json.dumps(told), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    for (flags, made, _announced), ranks, said in zip(CASES, told, json.loads(done.stdout), strict=True):
        assert said == [[made[0], "cpu", *made[1:]]] * len(ranks), (flags, done.stderr)


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_fsdp_1_that_syncs_fails_in_the_library_as_announced(tmp_path: Path, environ: dict[str, str]) -> None:
    python = environments.deepspeed() / "python"
    (tmp_path / "train.py").write_text(SCRIPT)
    words = [BIN / "accelerate", "launch", "--python", python, "--use_fsdp", "--num_processes", "1", "train.py"]
    done = subprocess.run([*map(str, words)], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    assert "RuntimeError: There are currently no available devices found" in done.stderr
    assert "with fsdp_sync_module_states true (built in): on the CPU Hugging Face's accelerate fails" in done.stderr


ONE_DEVICE = """
import torch
import torch.distributed
seen = {"device": [], "ddp": [], "barrier": []}
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1  # of the slices of a GPU, a process sees only one
torch.cuda.set_device = lambda device: seen["device"].append(device.index)
from accelerate import Accelerator, InitProcessGroupKwargs
made = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")])
class Wrapped(torch.nn.Module):
    def __init__(self, module, device_ids, **others):
        super().__init__()
        seen["ddp"] += device_ids
torch.nn.parallel.DistributedDataParallel = Wrapped
torch.distributed.barrier = lambda device_ids: seen["barrier"].extend(device_ids)
made.prepare_model(torch.nn.Linear(1, 1), device_placement=False)
made.wait_for_everyone()
print(made.process_index, made.distributed_type.name, made.is_main_process, made.is_local_main_process, seen, flush=True)
"""


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_the_library_takes_the_one_device_that_a_rank_of_slices_sees(tmp_path: Path, environ: dict[str, str]) -> None:
    """It hands LOCAL_RANK to DDP and to barriers as a device's number, so that must be 0 in each rank."""
    python = environments.deepspeed() / "python"
    (tmp_path / "train.py").write_text(ONE_DEVICE)
    slices = ("--num_devices", "2", "--gpu_ids", "MIG-a,MIG-b")
    words = [BIN / "accelerate", "launch", "-q", "--python", python, *slices, "train.py"]
    done = subprocess.run([*map(str, words)], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    first = {"device": [0], "ddp": [0], "barrier": [0]}
    assert sorted(done.stdout.splitlines()) == [f"0 MULTI_GPU True True {first}", f"1 MULTI_GPU False True {first}"]


@pytest.mark.parametrize(
    ("flags", "devices", "text"),
    [
        *((flags, 0, announced) for flags, _made, announced in CASES),
        (["--use_megatron_lm", "--num_processes", "2"], 0, DDP),
        (["--use_fsdp", "--num_processes", "2"], 2, ""),
        (["--mixed_precision", "fp16"], 1, ""),
        (["--cpu", "--mixed_precision", "fp8", "--fp8_backend", "TE"], 0, "this backend needs a GPU"),
    ],
)
def test_what_is_announced(settings: Resolve, flags: list[str], devices: int, text: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    made = plan(settings(*flags, "--dry_run"), host(devices, cwd=str(tmp_path)), ["train.py"])
    notes = [note for note in made.notes if "on the CPU" in note and "no device is found" not in note]
    assert len(notes) == bool(text)
    assert not text or text in notes[0]
