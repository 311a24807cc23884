"""Hugging Face's library, in an environment of its own, as a client: what it makes of what the launcher gives it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import environments
from tests.conftest import ROOT

CLIENTS = ROOT / "tests" / "clients"
Said = dict[str, dict[str, dict[str, Any]]]

# What is launched, and the library's classes that are then built without arguments.
CASES: dict[str, tuple[str, list[str]]] = {
    "fsdp1": (
        (
            "--use_fsdp --fsdp_sharding_strategy 2 --fsdp_offload_params true --fsdp_auto_wrap_policy size_based_wrap "
            "--fsdp_min_num_params 2000 --fsdp_backward_prefetch BACKWARD_POST --fsdp_forward_prefetch true "
            "--fsdp_use_orig_params true --fsdp_cpu_ram_efficient_loading false --fsdp_sync_module_states false "
            "--fsdp_activation_checkpointing"
        ),
        ["FullyShardedDataParallelPlugin"],
    ),
    "fsdp2": (
        (
            "--use_fsdp --fsdp_version 2 --fsdp_reshard_after_forward false --fsdp_state_dict_type FULL_STATE_DICT "
            "--fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP --fsdp_transformer_layer_cls_to_wrap BertLayer,GPTJBlock "
            "--fsdp_activation_checkpointing true --fsdp_activation_checkpointing_offload true"
        ),
        ["FullyShardedDataParallelPlugin"],
    ),
    "fsdp1-defaults": (
        "--use_fsdp --fsdp_cpu_ram_efficient_loading false --fsdp_sync_module_states false",
        ["FullyShardedDataParallelPlugin"],
    ),
    "fsdp2-defaults": ("--use_fsdp --fsdp_version 2", ["FullyShardedDataParallelPlugin"]),
    "deepspeed": (
        (
            "--use_deepspeed --zero_stage 3 --offload_optimizer_device nvme --offload_param_device cpu "
            "--offload_optimizer_nvme_path /Fast/Disk --gradient_accumulation_steps 4 --gradient_clipping 0.5 "
            "--zero3_init_flag true --zero3_save_16bit_model true"
        ),
        ["DeepSpeedPlugin"],
    ),
    "deepspeed-defaults": ("--use_deepspeed", ["DeepSpeedPlugin"]),
    "megatron": (
        (
            "--use_megatron_lm --num_processes 8 --megatron_lm_tp_degree 2 --megatron_lm_pp_degree 2 "
            "--megatron_lm_num_micro_batches 4 --megatron_lm_sequence_parallelism true "
            "--megatron_lm_use_distributed_optimizer true --megatron_lm_gradient_clipping 0.5 "
            "--megatron_lm_no_save_optim false --megatron_lm_eod_mask_loss true --megatron_lm_attention_backend false "
            "--megatron_lm_recompute_granularity selective --megatron_lm_hidden_dropout 0.1"
        ),
        ["MegatronLMPlugin"],
    ),
    "te": (
        (
            "--mixed_precision fp8 --fp8_backend te --fp8_margin 2 --fp8_interval 3 --fp8_format e4m3 "
            "--fp8_amax_history_len 16 --fp8_amax_compute_algo max --fp8_override_linear_precision true,false,true "
            "--fp8_use_autocast_during_eval"
        ),
        ["TERecipeKwargs"],
    ),
    "ao": ("--mixed_precision fp8 --fp8_backend ao --fp8_pad_inner_dim false", ["AORecipeKwargs"]),
    "msamp": ("--mixed_precision fp8 --fp8_backend msamp --fp8_opt_level O1", ["MSAMPRecipeKwargs"]),
    "dynamo": (
        (
            "--dynamo_backend inductor --dynamo_mode max-autotune --dynamo_use_fullgraph "
            "--dynamo_use_regional_compilation"
        ),
        ["TorchDynamoPlugin"],
    ),
    "dynamic": ("--dynamo_backend torhchxla_trace_once --dynamo_use_dynamic=false", ["TorchDynamoPlugin"]),
    "context": (
        (
            "--use_fsdp --fsdp_version 2 --num_processes 8 --parallelism_config_cp_size 2 --parallelism_config_tp_size 2 "
            "--parallelism_config_cp_comm_strategy alltoall"
        ),
        ["ParallelismConfig"],
    ),
    "sequence": (
        (
            "--use_deepspeed --num_processes 4 --parallelism_config_sp_size 2 --parallelism_config_sp_seq_length 512 "
            "--parallelism_config_sp_seq_length_is_variable false --parallelism_config_sp_attn_implementation sdpa"
        ),
        ["ParallelismConfig"],
    ),
}


@pytest.fixture(scope="module")
def where() -> Path:
    return environments.deepspeed()


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of every launch here: no config file, and stand-ins for what can't be installed.

    Megatron-LM, Transformer Engine and MS-AMP need NVIDIA's compiler. Of these the library only asks whether they
    are there, and at that by their distributions' names; reading the variables is its own.
    """
    folder = tmp_path_factory.mktemp("standins")
    for module, distribution in {
        "megatron": "",
        "transformer_engine": "transformer-engine",
        "msamp": "ms-amp",
    }.items():
        (folder / module).mkdir()
        (folder / module / "__init__.py").write_text("raise ImportError('a stand-in that is only to be found')\n")
        if distribution:
            info = folder / f"{distribution.replace('-', '_')}-2.4.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.4.0\n")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(folder), "HF_HOME": str(folder / "hf"), "DS_ACCELERATOR": "cpu"}


@pytest.fixture(scope="module")
def library(where: Path, around: dict[str, str]) -> Said:
    """What the library's classes say in each case; every case is launched, and the library is imported once."""
    given: dict[str, tuple[list[str], dict[str, str]]] = {}
    for case, (flags, classes) in CASES.items():
        done = _run([where / "accel", "launch", *flags.split(), CLIENTS / "told.py"], around)
        given[case] = (classes, json.loads(done.stdout))
    done = _run([where / "python", CLIENTS / "read_library.py"], around, json.dumps(given))
    return json.loads(done.stdout.splitlines()[-1])


def _run(words: list[Any], environ: dict[str, str], text: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, env=environ, input=text, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


FIELDS: dict[str, dict[str, Any]] = {
    "fsdp1": {
        "fsdp_version": 1,
        "sharding_strategy": "SHARD_GRAD_OP",
        "cpu_offload": {"offload_params": True},
        "auto_wrap_policy": "size_based_auto_wrap_policy",
        "min_num_params": 2000,
        "backward_prefetch": "BACKWARD_POST",
        "forward_prefetch": True,
        "use_orig_params": True,
        "cpu_ram_efficient_loading": False,
        "sync_module_states": False,
        "activation_checkpointing": True,
        "state_dict_type": "FULL_STATE_DICT",
    },
    "fsdp2": {
        "fsdp_version": 2,
        "reshard_after_forward": False,
        "state_dict_type": "FULL_STATE_DICT",
        "auto_wrap_policy": "transformer_auto_wrap_policy",
        "transformer_cls_names_to_wrap": ["BertLayer", "GPTJBlock"],
        "activation_checkpointing": True,
        "activation_checkpointing_offload": True,
        "cpu_ram_efficient_loading": True,
    },
    "fsdp1-defaults": {"sharding_strategy": "FULL_SHARD", "state_dict_type": "FULL_STATE_DICT"},
    "fsdp2-defaults": {"fsdp_version": 2, "reshard_after_forward": True, "state_dict_type": "SHARDED_STATE_DICT"},
    "deepspeed": {
        "zero_stage": 3,
        "offload_optimizer_device": "nvme",
        "offload_optimizer_nvme_path": "/Fast/Disk",
        "offload_param_device": "cpu",
        "offload_param_nvme_path": "none",
        "gradient_accumulation_steps": 4,
        "gradient_clipping": 0.5,
        "zero3_init_flag": True,
        "zero3_save_16bit_model": True,
    },
    "deepspeed-defaults": {"zero_stage": 2, "gradient_clipping": "auto", "zero3_init_flag": False},
    "megatron": {
        "tp_degree": 2,
        "pp_degree": 2,
        "num_micro_batches": 4,
        "sequence_parallelism": True,
        "use_distributed_optimizer": True,
        "gradient_clipping": 0.5,
        "no_save_optim": False,
        "eod_mask_loss": True,
        "attention_backend": False,
        "recompute_granularity": "selective",
        "hidden_dropout": 0.1,
        "context_parallel_size": 1,
    },
    "te": {
        "margin": 2,
        "interval": 3,
        "fp8_format": "E4M3",
        "amax_history_len": 16,
        "amax_compute_algo": "max",
        "override_linear_precision": [True, False, True],
        "use_autocast_during_eval": True,
    },
    "ao": {"pad_inner_dim": False, "enable_fsdp_float8_all_gather": True},
    "msamp": {"opt_level": "O1"},
    "dynamo": {
        "backend": "INDUCTOR",
        "mode": "max-autotune",
        "fullgraph": True,
        "use_regional_compilation": True,
        "dynamic": None,
    },
    "dynamic": {"backend": "TORCHXLA_TRACE_ONCE", "dynamic": False},
    "context": {
        "dp_replicate_size": 1,
        "dp_shard_size": 2,
        "tp_size": 2,
        "cp_size": 2,
        "cp_backend": "torch",
        "cp_handler": {"cp_comm_strategy": "alltoall"},
        "sp_size": 1,
    },
    "sequence": {
        "sp_size": 2,
        "sp_backend": "deepspeed",
        "sp_handler": {"sp_seq_length": 512, "sp_seq_length_is_variable": False, "sp_attn_implementation": "sdpa"},
    },
}


@pytest.mark.exhaustive  # installing what it reads with takes minutes the first time
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", CASES)
def test_the_librarys_classes_read_what_was_set(library: Said, case: str) -> None:
    (made,) = library[case].values()
    assert {field: made[field] for field in FIELDS[case]} == FIELDS[case]


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_the_accelerators_state_of_two_ranks(where: Path, around: dict[str, str]) -> None:
    flags = (
        "--cpu --num_processes 2 --mixed_precision bf16 --debug --dynamo_backend eager --dynamo_mode reduce-overhead"
    )
    done = _run([where / "accel", "launch", *flags.split(), CLIENTS / "state.py"], around)
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "type": "MULTI_CPU",
        "processes": 2,
        "backend": "gloo",
        "device": "cpu:0",
        "precision": "bf16",
        "debug": True,
        "dynamo": "EAGER",
        "mode": "reduce-overhead",
        "dynamic": None,
    }


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_a_script_made_for_the_library_sees_the_right_world(where: Path, around: dict[str, str]) -> None:
    # `accelerate` belongs to whichever distribution was installed last there; `accel` is ours.
    script = ROOT / "examples/train_digits_accelerate.py"
    done = _run([where / "accel", "launch", "--cpu", "--num_processes", "2", script], around)
    line = done.stdout.splitlines()[-1]
    assert "2 ranks, MULTI_CPU, precision no" in line
    assert float(line.split()[1]) > 0.95
