"""Config files: what they say, on which line, and what is refused."""

from pathlib import Path

import pytest

from accel_config import CATALOGUE, SettingError
from accel_config.reading.files import Read, load, parse
from accel_config.reading.places import default_path


def read(text: str, path: str = "c.yaml") -> Read:
    return parse(CATALOGUE, text.encode(), path)


def values(text: str) -> dict[str, object]:
    found = read(text)
    assert not found.problems, found.problems
    return {name: value.value for name, value in found.values.items()}


def test_a_value_keeps_its_line() -> None:
    found = read("# a comment\n\ncompute_environment: LOCAL_MACHINE\nfsdp_config:\n  fsdp_version: 2\n")
    assert found.values["compute_environment"].origin.text == "c.yaml:3"
    assert found.values["fsdp_version"].origin.text == "c.yaml:5"


WILD: list[tuple[str, dict[str, object] | None]] = [
    ("mixed_precision: no", {"mixed_precision": "no"}),
    ("mixed_precision: 'no'", {"mixed_precision": "no"}),
    ("distributed_type: NO", {"distributed_type": "NO"}),
    ("distributed_type: TPU", {"distributed_type": "XLA"}),
    ("gpu_ids: 0", {"gpu_ids": "0"}),
    ("gpu_ids: 0,1", {"gpu_ids": "0,1"}),
    ("gpu_ids: [0, 1]", {"gpu_ids": "0,1"}),
    ("gpu_ids: all", {}),
    ("num_processes: '4'", {"num_processes": 4}),
    ("num_processes: -1", {}),
    # Numbers as YAML 1.1 has them, and so the existing command; in quotes they are text.
    ("num_processes: 0x10", {"num_processes": 16}),
    ("num_processes: 010", {"num_processes": 8}),
    ("num_processes: '010'", {"num_processes": 10}),
    ("num_processes: 0b11", {"num_processes": 3}),
    ("num_processes: 1_0", {"num_processes": 10}),
    ("fsdp_config: {fsdp_min_num_params: 0x10}", {"fsdp_min_num_params": 16}),
    ("deepspeed_config: {gradient_clipping: 0x1}", {"gradient_clipping": 1.0}),
    ("gpu_ids: 010", {"gpu_ids": "010"}),
    ("num_machines: 0x10", {"num_machines": 16}),
    ("num_processes: null", {}),
    ("num_processes: ~", {}),
    ("num_processes:", {}),
    ("use_cpu: 'yes'", {"cpu": True}),
    ("downcast_bf16: 'no'", {"downcast_bf16": False}),
    ("main_process_port: 29500", {"main_process_port": 29500}),
    ("fsdp_config: {}", {}),
    ("fsdp_config: null", {}),
    ("fsdp_config: {version: 2}", {"fsdp_version": 2}),
    ("fsdp_config: {fsdp_sharding_strategy: 2}", {"fsdp_sharding_strategy": "SHARD_GRAD_OP"}),
    ("fsdp_config: {fsdp_backward_prefetch_policy: BACKWARD_POST}", {"fsdp_backward_prefetch": "BACKWARD_POST"}),
    ("fsdp_config: {fsdp_min_num_params: 1e8}", {"fsdp_min_num_params": 100_000_000}),
    ("dynamo_config: {backend: INDUCTOR}", {"dynamo_backend": "inductor"}),
    ("dynamo_config: {dynamo_backend: torhchxla_trace_once}", {"dynamo_backend": "torchxla_trace_once"}),
    ("megatron_lm_config: {tp_degree: 2}", {"megatron_lm_tp_degree": 2}),
    ("parallelism_config: {tp_size: 2}", {"parallelism_config_tp_size": 2}),
    ("fp8_config: {backend: te}", {"fp8_backend": "TE"}),
    ("fp8_config: {fp8_backend: TE}", {"fp8_backend": "TE"}),
    ("fp8_config: {format: E4M3}", {"fp8_format": "E4M3"}),
    ("fp8_config: {amax_history_length: 8}", {"fp8_amax_history_len": 8}),
    ("fp8_config: {amax_compute_algorithm: max}", {"fp8_amax_compute_algo": "max"}),
    ("fp8_config: {optimization_level: O1}", {"fp8_opt_level": "O1"}),
    (
        "fp8_config: {override_linear_precision: '(false, true, false)'}",
        {"fp8_override_linear_precision": (False, True, False)},
    ),
    (
        "fp8_config: {override_linear_precision: [true, false, false]}",
        {"fp8_override_linear_precision": (True, False, False)},
    ),
    ("mpirun_config: {bind-to: core}", {"mpirun_bind_to": "core"}),
    ("deepspeed_config: {deepspeed_config_file: none}", {}),
    ("tpu_env: []", {"env": ()}),
    ("tpu_vm: [a, b]", {"vm": ("a", "b")}),
    ("tpu_env: ['']", {"env": ()}),
    ("tpu_env: [A=1, 'B=x=y']", {"env": ("A=1", "B=x=y")}),
    ("fp16: true", {"mixed_precision": "fp16"}),
    ("fp16: false", {}),
    ("fp16: true\nmixed_precision: bf16", {"mixed_precision": "bf16"}),
    ("dynamo_backend: INDUCTOR", {"dynamo_backend": "inductor"}),
    ("dynamo_backend: NO", {"dynamo_backend": "no"}),
    ("additional_args: {a: {b: [1, x]}}", {"additional_args": {"a": {"b": [1, "x"]}}}),
    ("base: &b {fsdp_version: 2}", None),
    ("fsdp_config: &f {fsdp_version: 2}", {"fsdp_version": 2}),
    ("use_cpu: true\nuse_cpu: false", {"cpu": False}),
    ("num_processes: 2\nfsdp_config: {fsdp_version: 1}\nfsdp_config: {}\nnum_processes: 3", {"num_processes": 3}),
    ("fsdp_config: {version: 1, fsdp_version: 2}", {"fsdp_version": 2}),
    ("num_processes: x\nnum_processes: 3", {"num_processes": 3}),
    ("", {}),
    ("# nothing\n", {}),
    ("\ufeffnum_processes: 2\r\nuse_cpu: true\r\n", {"num_processes": 2, "cpu": True}),
]


@pytest.mark.parametrize(("text", "expected"), WILD)
def test_what_files_in_the_wild_say(text: str, expected: dict[str, object] | None) -> None:
    if expected is None:
        assert read(text).problems
    else:
        assert values(text) == expected


def test_a_key_twice_is_a_note_at_a_launch() -> None:
    found = read("use_cpu: true\nnum_processes: 2\nuse_cpu: false\n")
    assert found.problems == ()
    assert [str(note) for note in found.notes] == [
        "c.yaml:3: use_cpu is given twice: first on line 1; this one counts"
    ]


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('{\n\t"num_processes": 2,\n\t"use_cpu": true,\n\t"gpu_ids": null\n}\n')
    found = load(CATALOGUE, str(path))
    assert {name: value.value for name, value in found.values.items()} == {"num_processes": 2, "cpu": True}
    assert found.values["cpu"].origin.text == f"{path}:3"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("num_processes: 1:30", 1, "num_processes must be a whole number from 1 to 1000000, not '1:30'"),
        ("num_proceses: 2", 1, "unknown key 'num_proceses'. Did you mean 'num_processes'?"),
        ("use_cpu: true\nnum_processes: two", 2, "num_processes must be a whole number from 1 to 1000000, not 'two'"),
        ("mixed_precision: bf61", 1, "Did you mean 'bf16'?"),
        ("fsdp_config:\n  fsdp_version: 3", 2, "fsdp_version must be one of 1, 2, not '3'"),
        ("main_process_port: 70000", 1, "main_process_port must be a whole number from 0 to 65535"),
        ("machine_rank: -1", 1, "machine_rank must be a whole number, at least 0"),
        ("fsdp_config: 3", 1, "fsdp_config must be a mapping of settings"),
        ("num_processes: [1]", 1, "num_processes must be"),
        ("tpu_env: [1A]", 1, "must be a list (NAME=VALUE)"),
    ],
)
def test_what_is_refused(text: str, line: int, message: str) -> None:
    (problem,) = read(text).problems
    assert problem.line == line
    assert message in problem.message


def test_every_problem_is_found() -> None:
    assert [p.line for p in read("a_key: 1\nnum_processes: x\nmixed_precision: y").problems] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("fsdp_config:\n  fsdp_verzion: 2", 2, "unknown key 'fsdp_config.fsdp_verzion' has no effect. Did you mean 'fsdp_version'?"),
        ("deepspeed_config: {num_processes: 9}", 1, "unknown key 'deepspeed_config.num_processes' has no effect"),
        ("ipex_config: {ipex: true}", 1, "ipex_config has no effect"),
        ("tp_config: {tp_size: 2}", 1, "tp_config has no effect"),
        ("mpirun_config: {mpirun_ccl: 1}", 1, "mpirun_config.mpirun_ccl has no effect"),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_told(text: str, line: int, message: str) -> None:
    found = read(text)
    assert not found.problems
    (note,) = found.notes
    assert (note.line, message in note.message) == (line, True)


DEEP = "[" * 30_000
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "c.yaml:2: this isn't valid YAML"),
        ("a: b: c", "c.yaml:1: this isn't valid YAML"),
        ("- 1\n- 2", "c.yaml:1: a config file must be a mapping of settings"),
        ("just text", "a config file must be a mapping of settings"),
        ("num_processes: !!python/object/apply:os.system ['true']", "the tag !!python/object/apply:os.system isn't"),
        ("num_processes: !mine 2", "the tag !mine isn't allowed"),
        ("a: " + DEEP, "nested"),
        (BOMB, "nested or repeated"),
        ("a: \x00", "c.yaml:1: this isn't valid YAML"),
    ],
)
def test_what_is_no_config_file(text: str, message: str) -> None:
    with pytest.raises(SettingError) as refusal:
        read(text)
    assert message in str(refusal.value)


def test_binary_is_refused() -> None:
    with pytest.raises(SettingError, match=r"c\.yaml:2: this isn't UTF-8 text"):
        parse(CATALOGUE, b"a: 1\n\xff\xfe", "c.yaml")


def test_broken_json_names_the_line() -> None:
    with pytest.raises(SettingError, match=r"c\.json:2: this isn't valid JSON"):
        read('{"num_processes": 2,\n}', "c.json")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HF_HOME": "/hf", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/hf/accelerate/default_config.yaml"),
        ({"HF_HOME": "", "XDG_CACHE_HOME": "/x"}, "/x/huggingface/accelerate/default_config.yaml"),
        ({"XDG_CACHE_HOME": ""}, str(Path.home() / ".cache/huggingface/accelerate/default_config.yaml")),
        ({"HF_HOME": "~/hf"}, str(Path.home() / "hf/accelerate/default_config.yaml")),
    ],
)
def test_where_the_default_file_is(environ: dict[str, str], expected: str) -> None:
    assert default_path(environ) == expected
