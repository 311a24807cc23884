"""Plans of every paradigm, as recorded in tests/golden/plans: a change shows in the diff."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accel_config import CATALOGUE, layers, resolve, split
from accel_launch import plan
from accel_launch.machine.devices import VENDORS
from accel_launch.planning import explain
from tests.conftest import ROOT
from tests.launch.hosts import Still, gpus, host

GOLDEN = ROOT / "tests" / "golden" / "plans"
SEVERAL = "--num_machines 2 --num_processes 8 --machine_rank 1 --main_process_ip 10.0.0.1 --main_process_port 29500"
NONE = host(0)
FOUR = host(4)

PLANS = {
    "plain": ("", NONE),
    "plain-one-device": ("", host(1)),
    "debug": ("--debug", NONE),
    "module": ("-m --python /other/python", NONE),
    "cpu-two-ranks": ("--cpu --num_processes 2", FOUR),
    "no-device-two-ranks": ("--num_processes 2", NONE),
    "devices": ("", FOUR),
    "devices-chosen": ("--gpu_ids 1,3 --enable_cpu_affinity --mixed_precision bf16", FOUR),
    **{
        f"vendor-{kind.lower()}": ("--gpu_ids 0-1", host(gpus(4, kind)))
        for kind in dict.fromkeys(vendor.kind for vendor in VENDORS)
    },
    "fsdp1": (
        "--use_fsdp --fsdp_sharding_strategy SHARD_GRAD_OP --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP",
        FOUR,
    ),
    "fsdp2": ("--use_fsdp --fsdp_version 2 --fsdp_reshard_after_forward false --mixed_precision bf16", FOUR),
    "fsdp2-one-process": ("--use_fsdp --fsdp_version 2", host(1)),
    "deepspeed": ("--use_deepspeed --zero_stage 3 --offload_param_device cpu --zero3_init_flag true", FOUR),
    "megatron": ("--use_megatron_lm --megatron_lm_tp_degree 2 --megatron_lm_pp_degree 2", FOUR),
    "fp8-te": ("--mixed_precision fp8 --fp8_backend te --fp8_format HYBRID", FOUR),
    "fp8-ao": ("--mixed_precision fp8 --fp8_backend ao --use_fsdp --fsdp_version 2", FOUR),
    "fp8-msamp": ("--mixed_precision fp8 --fp8_backend msamp --fp8_opt_level O1", FOUR),
    "dynamo": ("--dynamo_backend inductor --dynamo_mode max-autotune --dynamo_use_regional_compilation", FOUR),
    "parallelism": (
        "--use_fsdp --fsdp_version 2 --parallelism_config_tp_size 2",
        FOUR,
    ),
    "parallelism-context": ("--use_fsdp --fsdp_version 2 --parallelism_config_cp_size 4", FOUR),
    "parallelism-sequence": ("--use_deepspeed --parallelism_config_sp_size 2", FOUR),
    "restarts": ("--max_restarts 3", FOUR),
    "machines-static": (SEVERAL, FOUR),
    "machines-c10d": (f"{SEVERAL} --rdzv_backend c10d --max_restarts 1", FOUR),
    "machines-same-network": (f"{SEVERAL} --same_network", FOUR),
    "machines-fsdp2": (f"{SEVERAL} --use_fsdp --fsdp_version 2", FOUR),
}


def _recorded(flags: str, on: str, folder: Path) -> str:
    machine = PLANS[on][1].replace(
        cwd=str(folder),
        probe=Still(modules=("torch", "deepspeed", "megatron", "torchao", "transformer_engine", "msamp")),
    )
    typed = split(CATALOGUE, [*flags.split(), "train.py", "--lr", "0.1"])
    found = layers(CATALOGUE, typed, {"HF_HOME": str(folder)})
    settings = resolve(CATALOGUE, found.values, found.notes)
    todo = plan(settings, machine, typed.script)
    told = json.loads(explain.as_json(todo, settings))
    head = f"# accelerate launch {flags} train.py --lr 0.1".replace("  ", " ")
    ways = f"# engine {told['engine']}, {'supervised' if todo.supervised else 'becomes the command'}"
    where = Path(explain.__file__).parent.parent
    return f"{head}\n{ways}\n{explain.shell(todo)}".replace(str(folder), "/home/me").replace(
        str(where), "/accel_launch"
    )


@pytest.mark.parametrize("name", PLANS)
def test_the_plan_is_as_recorded(name: str, tmp_path: Path) -> None:
    """On a difference the new text is left in place: look at the diff, and commit it if it is meant."""
    (tmp_path / "train.py").touch()
    new = _recorded(PLANS[name][0], name, tmp_path)
    path = GOLDEN / f"{name}.txt"
    old = path.read_text() if path.exists() else ""
    if new != old:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(new)
    assert new == old, f"the plan {name} changed; tests/golden/plans/{name}.txt has been rewritten"


def test_nothing_is_recorded_that_is_no_plan() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(PLANS)
