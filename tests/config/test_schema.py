"""The JSON Schema: what reading takes it takes, and what reading refuses it refuses."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml

from accel_config import CATALOGUE
from accel_config.reading.files import parse
from accel_config.writing.schema import schema

from .test_files import WILD as MORE

WILD = """\
mixed_precision: no
---
distributed_type: NO
---
{distributed_type: TPU, num_processes: '4', use_cpu: 'yes', downcast_bf16: 'no', gpu_ids: 0, tpu_vm: [a], tpu_env: []}
---
{num_processes: -1, main_process_port: null, fsdp_config: null, deepspeed_config: {}}
---
{fsdp_config: {fsdp_sharding_strategy: 2, fsdp_version: '2', offload_params: 'False', anything: 1}}
---
{fp16: true, dynamo_backend: INDUCTOR, ipex_config: {ipex: true}, tp_config: {tp_size: 1}}
---
{fp8_config: {backend: te, override_linear_precision: '(false, false, true)', amax_history_length: 16}}
---
{fp8_config: {override_linear_precision: [true, false, no]}, fsdp_config: {fsdp_min_num_params: 1e8}}
---
{fsdp_config: {fsdp_reshard_after_forward: true}}
---
{fsdp_config: {fsdp_reshard_after_forward: FULL_SHARD, fsdp_transformer_layer_cls_to_wrap: [A, B]}}
---
{dynamo_config: {dynamo_backend: inductor, dynamo_mode: max-autotune}, megatron_lm_config: {tp_degree: 2}}
---
{deepspeed_config: {zero_stage: 3, gradient_clipping: auto, gradient_accumulation_steps: auto}}
---
{compute_environment: AMAZON_SAGEMAKER, additional_args: {a: {b: [1]}}, pytorch_version: 1.10, region: eu-west-1}
---
{mpirun_config: {bind-to: core, mpirun_ccl: '1'}}
---
null
"""
WRONG = """\
{mixed_precision: bf61}
---
{use_cpu: 3}
---
{num_processes: two}
---
{num_processes: 0}
---
{num_processes: [1]}
---
{main_process_port: 70000}
---
{fsdp_config: {fsdp_version: 3}}
---
{fsdp_config: [1]}
---
{tpu_env: [1A]}
---
{tpu_env: [1]}
---
{no_such_key: 1}
---
{additional_args: 1}
---
{fp8_config: {override_linear_precision: [true]}}
---
{distributed_type: [NO]}
---
[use_cpu]
"""


@cache
def validator() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(schema(CATALOGUE))


def accepted(content: Any) -> bool:
    return validator().is_valid(content)


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(schema(CATALOGUE))


@pytest.mark.parametrize("text", [*WILD.split("---\n"), *(text for text, said in MORE if said is not None)])
def test_files_in_the_wild_are_accepted(text: str) -> None:
    assert not parse(CATALOGUE, text.encode(), "c.yaml").problems
    assert accepted(yaml.safe_load(text)), text


@pytest.mark.parametrize("text", WRONG.split("---\n"))
def test_wrong_types_and_choices_are_refused(text: str) -> None:
    if text.startswith("{"):
        assert parse(CATALOGUE, text.encode(), "c.yaml").problems
    assert not accepted(yaml.safe_load(text)), text


def test_every_key_is_described() -> None:
    properties = schema(CATALOGUE)["properties"]
    assert isinstance(properties, dict)
    for one in CATALOGUE.settings:
        for key in one.keys:
            mapping, _dot, own = key.rpartition(".")
            found = properties[mapping]["properties"][own] if mapping else properties[own]
            assert found["description"], key
