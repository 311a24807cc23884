"""Config files for FSDP 1 turned into ones for FSDP 2, byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel_cli.commands.fsdp2 import DROPPED, converted, main
from accel_config import CATALOGUE
from accel_config.reading.files import parse

OLD = """\
# my machine
compute_environment: LOCAL_MACHINE   # here
distributed_type: FSDP
num_processes: 2

fsdp_config:  # the section
  fsdp_sharding_strategy: 1   # all of it
  fsdp_backward_prefetch_policy: BACKWARD_PRE
  # a word on this
  fsdp_use_orig_params: true
  fsdp_state_dict_type: LOCAL_STATE_DICT
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
mixed_precision: 'bf16'
"""
NEW = """\
# my machine
compute_environment: LOCAL_MACHINE   # here
distributed_type: FSDP
num_processes: 2

fsdp_config:  # the section
  fsdp_reshard_after_forward: true   # all of it
  # a word on this
  fsdp_state_dict_type: SHARDED_STATE_DICT
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_version: 2
mixed_precision: 'bf16'
"""


def convert(text: str, path: str = "c.yaml") -> str:
    return converted(text.encode(), path)[0].decode()


def section(text: str) -> dict[str, object]:
    read = parse(CATALOGUE, convert(text).encode(), "c.yaml")
    assert not read.problems
    return {name: value.value for name, value in read.values.items() if name.startswith("fsdp_")}


def test_every_other_byte_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(OLD)
    assert main(["--config_file", str(path), "--output_file", str(tmp_path / "new.yaml")]) == 0
    assert (path.read_text(), (tmp_path / "new.yaml").read_text()) == (OLD, NEW)
    lines = capsys.readouterr()
    assert lines.out == ""
    assert "fsdp_config.fsdp_use_orig_params is removed" in lines.err


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_stay(newline: str, mark: str) -> None:
    assert convert(mark + OLD.replace("\n", newline)) == mark + NEW.replace("\n", newline)


@pytest.mark.parametrize(
    ("strategy", "reshard"),
    [
        ("FULL_SHARD", "true"), ("full_shard", "true"), ("1", "true"), ("SHARD_GRAD_OP", "false"), ("2", "false"),
        ("NO_SHARD", "false"), ("3", "false"), ("HYBRID_SHARD", "true"), ("4", "true"),
        ("HYBRID_SHARD_ZERO2", "false"), ("hybrid_shard_zero2", "false"), ("5", "false"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["fsdp_sharding_strategy", "fsdp_reshard_after_forward"])
def test_strategies(key: str, strategy: str, reshard: str) -> None:
    if key == "fsdp_reshard_after_forward" and strategy.isdecimal():
        strategy = "FULL_SHARD" if reshard == "true" else "NO_SHARD"
    assert section(f"fsdp_config:\n  {key}: {strategy}\n") == {
        "fsdp_version": 2,
        "fsdp_reshard_after_forward": reshard,
    }


def test_a_strategy_on_lines_of_its_own_is_reported_on_one() -> None:
    text = "fsdp_config:\n  fsdp_sharding_strategy: >-\n    FULL_SHARD\n  my_own: 1\n"
    new, lines = converted(text.encode(), "c.yaml")
    assert new == b"fsdp_config:\n  fsdp_reshard_after_forward: true\n  my_own: 1\n  fsdp_version: 2\n"
    assert lines[1].endswith("fsdp_sharding_strategy >- FULL_SHARD is now fsdp_reshard_after_forward true")


def test_a_strategy_beside_its_successor_wins_as_it_does_in_version_1() -> None:
    text = "fsdp_config:\n  fsdp_reshard_after_forward: FULL_SHARD\n  fsdp_sharding_strategy: SHARD_GRAD_OP\n"
    assert section(text) == {"fsdp_version": 2, "fsdp_reshard_after_forward": "false"}


@pytest.mark.parametrize("name", DROPPED)
def test_what_fsdp_2_has_not_goes(name: str) -> None:
    value = "BACKWARD_PRE" if name == "fsdp_backward_prefetch" else "true"
    assert convert(f"fsdp_config:\n  {name}: {value} # x\n") == "fsdp_config:\n  fsdp_version: 2\n"


def test_what_it_has_stays() -> None:
    kept = (
        "fsdp_config:\n  fsdp_auto_wrap_policy: SIZE_BASED_WRAP\n  fsdp_min_num_params: 5\n  fsdp_offload_params: yes\n"
        "  fsdp_cpu_ram_efficient_loading: false\n  fsdp_activation_checkpointing: true\n  my_own: 3\n"
    )
    assert convert(kept) == kept + "  fsdp_version: 2\n"
    assert convert(kept + "  fsdp_version: 1 # old\n") == kept + "  fsdp_version: 2 # old\n"


@pytest.mark.parametrize("version", ["2", "'2'", '"2"'])
def test_a_file_of_version_2_is_left_alone(version: str) -> None:
    text = f"fsdp_config: {{fsdp_version: {version}, fsdp_sharding_strategy: FULL_SHARD}}\n"
    assert convert(text) == text


@pytest.mark.parametrize("text", ["num_processes: 2\n", "fsdp_config:\n", "fsdp_config: {}\n", "fsdp_config: null\n"])
def test_without_settings_nothing_changes(text: str) -> None:
    assert convert(text) == text


def test_json_stays_json(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(
        '{"fsdp_config": {"fsdp_forward_prefetch": false,\n "fsdp_sharding_strategy": 2}, "debug": false}'
    )
    assert main(["--config_file", str(path), "--overwrite"]) == 0
    assert path.read_text() == (
        '{"fsdp_config": {"fsdp_reshard_after_forward": false,\n "fsdp_version": 2}, "debug": false}'
    )
    assert main(["--config_file", str(path), "--output_file", str(tmp_path / "c.yaml")]) == 2


def test_merged_keys_that_would_stay_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("fsdp_config:\n  <<: &base {fsdp_use_orig_params: true}\n  fsdp_offload_params: false\n")
    before = path.read_text()
    assert main(["--config_file", str(path), "--overwrite"]) == 2
    assert path.read_text() == before
    assert "edit the file by hand" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--overwrite to change the config file itself"),
        (["--output_file", "there.yaml"], "there.yaml already exists"),
    ],
)
def test_nothing_is_overwritten_unasked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(OLD)
    Path("there.yaml").write_text("kept")
    assert main(["--config_file", "c.yaml", *words], "accelerate to-fsdp2") == 2
    assert message in capsys.readouterr().err
    assert (Path("c.yaml").read_text(), Path("there.yaml").read_text()) == (OLD, "kept")


def test_overwriting(tmp_path: Path) -> None:
    path, other = tmp_path / "c.yaml", tmp_path / "other.yaml"
    path.write_text(OLD)
    other.write_text("old")
    assert main(["--config-file", str(path), "--output-file", str(other), "--overwrite"]) == 0
    assert (path.read_text(), other.read_text()) == (OLD, NEW)
    assert main(["--config_file", str(path), "--overwrite"]) == 0
    assert path.read_text() == NEW


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "doesn't exist"), ("", "is empty"), ("fsdp_config:\n  fsdp_sharding_strategy: HALF\n", ":2: ")],
)
def test_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_text(text)
    assert main(["--config_file", str(path), "--output_file", str(tmp_path / "new" / "x.yaml")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
