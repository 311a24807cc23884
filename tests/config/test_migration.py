"""`config update`: old words become today's, and everything else stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from accel_config import CATALOGUE, SettingError
from accel_config.reading.files import parse
from accel_config.settings.machine import MachineFacts
from accel_config.writing.migration import migrated
from tests.conftest import Run

from .answers import MACHINES
from .test_edit import files

OLD = """\
# my config
compute_environment: LOCAL_MACHINE
fp16: true   # half
distributed_type: NO
gpu_ids: 0
num_processes: "1"
ipex_config:
  ipex: true
  use_xpu: no
dynamo_backend: INDUCTOR
deepspeed_config: {}
mpirun_config: {mpirun_ccl: 1, mpirun_hostfile: /x, }
fsdp_config:
  # keep me
  fsdp_backward_prefetch_policy: BACKWARD_PRE # p
  fsdp_sharding_strategy: 1
  other: hello
downcast_bf16: 'no'
main_process_ip: null
use_cpu: no
# end
"""
NEW = """\
# my config
compute_environment: LOCAL_MACHINE
distributed_type: 'NO'
gpu_ids: '0'
num_processes: 1
deepspeed_config: {}
mpirun_config: {mpirun_hostfile: /x, }
fsdp_config:
  # keep me
  fsdp_backward_prefetch: BACKWARD_PRE # p
  fsdp_sharding_strategy: FULL_SHARD
  other: hello
downcast_bf16: false
main_process_ip: null
use_cpu: false
mixed_precision: fp16
dynamo_config:
  dynamo_backend: inductor
debug: false
"""


def update(text: str, path: str = "c.yaml", machine: MachineFacts = MACHINES["cpu"]) -> str:
    return migrated(text.encode(), path, machine)[0].decode()


def test_what_the_type_implies_is_added_like_in_a_new_file() -> None:
    assert "distributed_type: MULTI_CPU\nuse_cpu: true\n" in update("num_processes: 4\ndebug: false\n")
    assert "distributed_type: 'NO'\nuse_cpu: false\n" in update("num_processes: 1\n")
    assert "num_processes: 1\n" in update("distributed_type: 'NO'\n")
    assert "distributed_type: XLA\n" in update("tpu_use_cluster: true\n")
    assert "distributed_type: MULTI_GPU\nuse_cpu: false\n" in update("num_processes: 4\n", machine=MACHINES["4 GPUs"])


def test_an_old_file() -> None:
    new = update(OLD)
    assert new.replace("use_cpu: no\n", "use_cpu: false\n").startswith(NEW)
    assert new.endswith("main_training_function: main\n# end\n")


@pytest.mark.parametrize(
    ("text", "machine", "kind"),
    [
        ("num_processes: 1\n", "4 GPUs", "NO"),
        ("num_processes: 4\n", "4 GPUs", "MULTI_GPU"),
        ("num_processes: 4\n", "cpu", "MULTI_CPU"),
        ("num_processes: 4\nuse_cpu: true\n", "4 GPUs", "MULTI_CPU"),
        ("use_cpu: false\n", "2 NPUs", "MULTI_NPU"),
        ("", "cpu", "NO"),
        ("# nothing\n", "1 GPU", "NO"),
    ],
)
def test_a_missing_type_follows_from_the_rest(text: str, machine: str, kind: str) -> None:
    found = parse(CATALOGUE, update(text, machine=MACHINES[machine]).encode(), "c.yaml")
    assert found.values["distributed_type"].value == kind


def test_json_stays_json() -> None:
    new = update(
        '{\n  "fp16": true,\n  "tp_config": {},\n  "num_processes": "2",\n  "ipex_config": {}\n}\n', "c.json"
    )
    assert new.startswith('{\n  "num_processes": 2,\n  "mixed_precision": "fp16",\n')


def test_a_sagemaker_file_gets_nothing_of_a_machine() -> None:
    new = update("compute_environment: AMAZON_SAGEMAKER\nec2_instance_type: ml.p3.2xlarge\niam_role_name: r\n")
    assert "num_processes" not in new
    assert "machine_rank" not in new
    assert "region: us-east-1" in new


def test_what_cant_be_is_refused_and_the_file_untouched(accelerate: Run, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="unknown key 'a'"):
        update("a: 1\n")
    (tmp_path / "c.yaml").write_text("a: 1\n")
    done = accelerate("config", "update", "--config_file", "c.yaml")
    assert (done.returncode, (tmp_path / "c.yaml").read_text()) == (2, "a: 1\n")


def test_twice_is_once(accelerate: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(OLD)
    first = accelerate("config", "update", "--config_file", "c.yaml")
    assert "c.yaml: fp16 is removed: mixed_precision replaces it\n" in first.stdout
    text = (tmp_path / "c.yaml").read_text()
    second = accelerate("config", "update", "--config_file", "c.yaml")
    assert second.stdout == "c.yaml: nothing to update\n"
    assert (tmp_path / "c.yaml").read_text() == text
    assert accelerate("config", "validate", "--config_file", "c.yaml").returncode == 0


@settings(max_examples=30)
@given(files())
def test_every_value_stays_and_twice_is_once(file: tuple[str, str]) -> None:
    path, text = file
    before = parse(CATALOGUE, text.encode(), path).values
    once = update(text, path)
    after = parse(CATALOGUE, once.encode(), path).values
    assert {name: after[name].value for name in before} == {name: value.value for name, value in before.items()}
    assert update(once, path) == once
    assert [line for line in text.splitlines() if line.strip().startswith("#")] == [
        line for line in once.splitlines() if line.strip().startswith("#")
    ]
