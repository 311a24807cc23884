"""`config validate`: each finding on its line."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from accel_config import CATALOGUE
from accel_config.checking.file import check


def findings(tmp_path: Path, text: str) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    found = check(CATALOGUE, str(path))
    return [(p.line, p.message) for p in found.problems], [(n.line, n.message) for n in found.notes]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("mixed_precison: no", 1, "Did you mean 'mixed_precision'?"),
        ("use_cpu: 3", 1, "use_cpu must be true or false, not '3'"),
        ("debug: no\nfsdp_config:\n  fsdp_version: 3", 3, "fsdp_config.fsdp_version must be one of 1, 2"),
        ("debug: no\nengine: torchrn", 2, "isn't installed. Did you mean 'torchrun'?"),
        ("use_cpu: no\nuse_cpu: yes", 2, "use_cpu is given twice: first on line 1; this one counts"),
        ("fsdp_config: {fsdp_version: 1}\nfsdp_config: {fsdp_version: 2}", 2, "fsdp_config is given twice"),
        ("fsdp_config: {a: [1]}\nfsdp_config: {a: [2]}", 2, "fsdp_config is given twice"),
        ("fsdp_config: {version: 1, fsdp_version: 2}", 1, "fsdp_version is given twice"),
        ("main_process_port: 99999", 1, "from 0 to 65535"),
        ("a: ]", 1, "isn't valid YAML"),
        (
            "distributed_type: FSDP\nfsdp_config:\n  fsdp_version: 2\n  fsdp_state_dict_type: LOCAL_STATE_DICT",
            4,
            "use SHARDED_STATE_DICT",
        ),
        ("distributed_type: MULTI_GPU\ngpu_ids: '0'\nnum_machines: 1", 2, "needs several"),
        ("distributed_type: MULTI_CPU\nnum_processes: 5\nnum_machines: 2", 3, "can't share them evenly"),
        ("use_cpu: yes\nnum_processes: 99999999999999999999", 2, "from 1 to 1000000"),
        ("use_cpu: yes\nnum_processes: 300000", 2, "at most 10000 ranks"),
        ("num_machines: 99999999999", 1, "from 1 to 100000"),
        ("num_machines: 2:99999999999", 1, "from 1 to 100000"),
        ("use_cpu: yes\nnproc_per_node: 300000", 2, "at most 10000 ranks"),
        ("distributed_type: MULTI_GPU\nnum_machines: 2\nmachine_rank: 2", 3, "it must be from 0 to 1"),
        (
            "num_machines: 2\nmain_process_ip: 10.0.0.1:29500",
            2,
            "has a port; use 10.0.0.1, and set main_process_port",
        ),
        ("num_machines: 2\nrdzv_backend: zookeeper", 2, "isn't a rendezvous backend of torch; use static or c10d"),
        ("compute_environment: AMAZON_SAGEMAKER\niam_role_name: r", 1, "ec2_instance_type is missing"),
    ],
)
def test_problems(tmp_path: Path, text: str, line: int, message: str) -> None:
    problems, _notes = findings(tmp_path, text)
    assert len(problems) == 1, problems
    assert problems[0][0] == line
    assert message in problems[0][1]


@pytest.mark.parametrize(
    "text",
    ["use_cpu: no\nuse_cpu: no", "fsdp_config: {version: 2, fsdp_version: 2}", "mpirun_config:\n\nmpirun_config:"],
)
def test_the_same_value_twice_is_a_note(tmp_path: Path, text: str) -> None:
    problems, notes = findings(tmp_path, text)
    assert problems == []
    assert any("is given twice" in message for _line, message in notes)


def test_a_file_that_cant_be_read_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "loop.yaml"
    path.symlink_to(path)
    (problem,) = check(CATALOGUE, str(path)).problems
    assert str(problem) == f"{path}:1: the config file can't be read: Too many levels of symbolic links"


@pytest.mark.parametrize(
    "text",
    [
        "gpu_ids: all",
        "num_processes: null",
        "machine_rank: 3",  # the existing command doesn't look at it on one machine
        "distributed_type: MULTI_CPU\nnum_machines: 2\nmachine_rank: 2\nmpirun_config: {mpirun_hostfile: h}",
        "num_machines: 2\nmachine_rank: 2\ndistributed_type: DEEPSPEED",  # whose launcher numbers the machines
        "num_machines: 2\nrdzv_backend: etcd-v2",
        "rdzv_backend: zookeeper",
        "num_machines: 2\nrdzv_backend: zookeeper\ndistributed_type: DEEPSPEED",
        "main_process_ip: a b",  # on one machine a script may never look at it
        "num_machines: 100\nnum_processes: 300000\ndistributed_type: MULTI_GPU",
    ],
)
def test_nothing_is_said_of(tmp_path: Path, text: str) -> None:
    assert findings(tmp_path, text) == ([], [])


def test_a_rendezvous_of_somebody_else_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def declared(group: str) -> EntryPoints:
        assert group == "torchrun.handlers"
        return EntryPoints([EntryPoint("zookeeper", "mine:make", group)])

    monkeypatch.setattr("importlib.metadata.entry_points", declared)
    assert findings(tmp_path, "num_machines: 2\nrdzv_backend: zookeeper") == ([], [])


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("use_cpu: no\nfsdp_config: {fsdp_verzion: 1}", 2, "Did you mean 'fsdp_version'?"),
        ("use_cpu: no\ntee: 3", 2, "Hugging Face's launcher rejects it"),
        ("use_cpu: no\nec2_instance_type: x", 2, "isn't for a SageMaker job"),
        ("ipex_config: {ipex: true}\nuse_cpu: no", 1, "has no effect"),
        ("", 1, "has no settings"),
        ("distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stage: 2, zero3_init_flag: true}", 2, "below ZeRO stage 3"),
    ],
)  # fmt: skip
def test_notes(tmp_path: Path, text: str, line: int, message: str) -> None:
    problems, notes = findings(tmp_path, text)
    assert not problems
    assert [note[0] for note in notes] == [line]
    assert message in notes[0][1]
