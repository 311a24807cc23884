"""`estimate-memory` with a launch config: the config's values become the estimate's settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from accel_cli.recipe import of_settings, read
from accel_config import AccelError
from tests.conftest import Run

LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ("mixed_precision: bf16\nnum_processes: 4\nnum_machines: 2", {"mixed_precision": "bf16", "num_processes": 4, "processes_per_machine": 2}),
        ("num_machines: 2\nnproc_per_node: 4", {"num_processes": 8, "processes_per_machine": 4}),
        ("num_machines: '2:4'\nnproc_per_node: 8", {"num_processes": 16, "processes_per_machine": 8}),
        ("distributed_type: DEEPSPEED", {"zero_stage": 2, "offload_optimizer_device": "none"}),
        ("distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stage: 3, offload_optimizer_device: cpu}", {"zero_stage": 3, "offload_optimizer_device": "cpu"}),
        ("distributed_type: FSDP", {"fsdp": "full", "offload_param_device": "none", "fsdp_version": 1, "wrap": "model"}),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_version: 2, fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP}", {"fsdp_version": 2, "wrap": "layer"}),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_auto_wrap_policy: NO_WRAP}", {"wrap": "model"}),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_sharding_strategy: 2}", {"fsdp": "grad_op"}),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_reshard_after_forward: HYBRID_SHARD}", {"fsdp": "hybrid"}),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_version: 2, fsdp_reshard_after_forward: false}", {"fsdp": "grad_op"}),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_activation_checkpointing: true}", {"gradient_checkpointing": "full", "use_reentrant": "false"}),
        ("distributed_type: FSDP\nnum_processes: 8\nfsdp_config: {fsdp_version: 2}\nparallelism_config: {parallelism_config_dp_replicate_size: 2, parallelism_config_dp_shard_size: 4}", {"fsdp": "hybrid", "processes_per_machine": 4}),
        ("distributed_type: MEGATRON_LM\nmegatron_lm_config: {megatron_lm_tp_degree: 2}", {"tp": 2, "pp": 1, "megatron": "whole"}),
        ("distributed_type: MEGATRON_LM\nmegatron_lm_config: {megatron_lm_pp_degree: 2, megatron_lm_num_micro_batches: 6, megatron_lm_use_distributed_optimizer: true}", {"pp": 2, "micro_batches": 6, "megatron": "distributed"}),
        ("distributed_type: MEGATRON_LM\nmegatron_lm_config: {megatron_lm_recompute_activations: true}", {"gradient_checkpointing": "selective"}),
        ("distributed_type: MEGATRON_LM\nmegatron_lm_config: {megatron_lm_recompute_granularity: full, megatron_lm_recompute_method: block, megatron_lm_recompute_num_layers: 3}", {"gradient_checkpointing": "full", "recompute_method": "block", "recompute_num_layers": 3}),
    ],
)  # fmt: skip
def test_a_config_sets_the_recipe(tmp_path: Path, config: str, fields: dict[str, Any]) -> None:
    (tmp_path / "c.yaml").write_text(config)
    found = of_settings(read(str(tmp_path / "c.yaml")))
    assert {name: getattr(found, name) for name in fields} == fields


def test_deepspeeds_own_json_decides(tmp_path: Path) -> None:
    """As for the library: `auto` leaves a value to the config, and a missing key has DeepSpeed's default."""
    own = {"bf16": {"enabled": True}, "gradient_accumulation_steps": 4, "train_batch_size": "auto", "train_micro_batch_size_per_gpu": 6,
           "zero_optimization": {"stage": 3, "reduce_bucket_size": 1000, "offload_optimizer": {"device": "cpu"}}}  # fmt: skip
    (tmp_path / "ds.json").write_text(json.dumps(own))
    path = tmp_path / "c.yaml"
    path.write_text(f"distributed_type: DEEPSPEED\ndeepspeed_config: {{deepspeed_config_file: {tmp_path}/ds.json}}\n")
    found = of_settings(read(str(path)))
    assert (found.mixed_precision, found.zero_stage, found.reduce_bucket_size) == ("bf16", 3, 1000)
    assert (found.offload_optimizer_device, found.offload_param_device) == ("cpu", "none")
    assert (found.batch_size, found.gradient_accumulation) == (6, 4)
    (tmp_path / "ds.json").write_text(json.dumps({"gradient_accumulation_steps": 2, "train_batch_size": 24}))
    path.write_text(path.read_text() + "num_processes: 4\n")
    assert of_settings(read(str(path))).batch_size == 3  # DeepSpeed divides it so
    unset = {"gradient_accumulation_steps": "auto", "train_micro_batch_size_per_gpu": "auto"}
    for little in ({}, {"bf16": {"enabled": "auto"}}, unset):
        (tmp_path / "ds.json").write_text(json.dumps(little))
        found = of_settings(read(str(path)))
        assert (found.zero_stage, found.batch_size, found.gradient_accumulation) == (0, 1, 1)
    for text, why in (
        ("{", "ds.json .*can't be read: Expecting"),
        ("[]", "ds.json .*isn't a DeepSpeed configuration"),
        ('{"zero_optimization": {"stage": "three"}}', r"c\.yaml:2: zero_stage .*'three'"),
    ):
        (tmp_path / "ds.json").write_text(text)
        with pytest.raises(AccelError, match=why):
            of_settings(read(str(path)))
    (tmp_path / "ds.json").unlink()
    with pytest.raises(AccelError, match=r"c\.yaml:2.*can't be read: No such file"):
        of_settings(read(str(path)))


def test_the_help_begins_as_any_and_knows_the_flag(accelerate: Run) -> None:
    done = accelerate("estimate-memory", "--help")
    assert done.stdout.startswith("usage: accelerate estimate-memory ")
    assert "--config_file FILE" in done.stdout
    done = accelerate("estimate-memory", "m", "--config_file")
    assert (done.returncode, "expected one argument" in done.stderr) == (2, True)


def test_more_ranks_need_less_memory_each(accelerate: Run, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(LLAMA))
    amounts: list[int] = []
    for ranks in (1, 8):
        (tmp_path / "c.yaml").write_text(f"distributed_type: FSDP\nnum_processes: {ranks}\nmixed_precision: bf16\n")
        done = accelerate("estimate-memory", "model", "--config_file", "c.yaml", "--json")
        assert done.returncode == 0, done.stderr
        amounts.append(json.loads(done.stdout)["training"]["components"]["optimizer"])
    assert amounts[1] < amounts[0]


def test_a_wrong_config_is_one_message(accelerate: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("num_processes: many\n")
    done = accelerate("estimate-memory", "model", "--config_file", "c.yaml")
    assert done.returncode == 2
    assert "c.yaml:1: num_processes must be" in done.stderr
    assert "Traceback" not in done.stderr
