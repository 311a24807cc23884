"""Keys that only we know never keep Hugging Face's library from reading its default file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from accel_config import CATALOGUE
from accel_config.settings.declaration import Setting
from tests.calling import Called, call
from tests.environments import environment

OURS = [one for one in CATALOGUE.settings if one.ours and one.key]
THEIRS = [one for one in CATALOGUE.settings if one.key and not one.ours and not one.deprecated and "." not in one.key]
READER = """
import json, sys, tempfile, pathlib
from accelerate.commands.config.config_args import load_config_from_file
found = {}
for name, text in json.load(sys.stdin).items():
    path = pathlib.Path(tempfile.mkdtemp()) / "config.yaml"
    path.write_text(text)
    try:
        load_config_from_file(str(path))
        found[name] = ""
    except Exception as error:
        found[name] = str(error)
print(json.dumps(found))
"""
JOB = {
    "compute_environment": "AMAZON_SAGEMAKER",
    "distributed_type": "DATA_PARALLEL",  # with NO the library refuses every job: it adds a key of its own
    "ec2_instance_type": "a",
    "iam_role_name": "b",
}


def value(one: Setting) -> str:
    """A valid value of a setting, as people type it."""
    if one.known:
        return one.known[-1]
    if one.pairs:
        return "a=b"
    texts = {bool: "true", int: str(int(one.minimum or 1)), float: str(one.minimum or 1.5)}
    return "10" if one.name == "job_time" else texts.get(one.kind, "2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert call(["config", "default"], tmp_path).status == 0
    return tmp_path


def default(folder: Path) -> Path:
    return folder / "hf" / "accelerate" / "default_config.yaml"


def own(folder: Path) -> Path:
    return folder / "hf" / "accelerate" / "accel.yaml"


def done(folder: Path, *words: str) -> Called:
    found = call(words, folder)
    assert found.status == 0, found
    return found


def read_by_the_library(texts: dict[str, str]) -> dict[str, str]:
    """What the library's own reader says to each file; nothing where it reads it."""
    python = environment("hf") / "python"
    said = subprocess.run(
        [python, "-c", READER], input=json.dumps(texts), capture_output=True, text=True, timeout=300, check=True
    )
    return json.loads(said.stdout.splitlines()[-1])


@pytest.mark.exhaustive
def test_the_library_refuses_what_is_marked_as_ours_and_nothing_else() -> None:
    base = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "NO", "num_machines": 1}
    texts: dict[str, str] = {}
    for one in (*OURS, *THEIRS):
        held = JOB if one.scope == "job" else base
        texts[str(one.key)] = yaml.safe_dump({**held, str(one.key): held.get(str(one.key), 1)})
    said = read_by_the_library(texts)
    assert {key for key, error in said.items() if "unknown key" in error} == {one.key for one in OURS}


@pytest.mark.exhaustive
def test_the_library_reads_its_default_file_whatever_is_set(folder: Path) -> None:
    """Each of our keys through `config set`: the default file stays as it was, byte for byte."""
    before = default(folder).read_text()
    pairs = [word for one in OURS for word in (str(one.key), value(one))]
    told = done(folder, "config", "set", *pairs).out.decode()
    assert "rejects" not in told
    assert default(folder).read_text() == before
    held = yaml.safe_load(own(folder).read_text())
    assert set(held) == {one.key for one in OURS}
    shown = json.loads(done(folder, "config", "show", "--json").out)
    assert {str(one.key) for one in OURS if shown[str(one.key)]["origin"].startswith(str(own(folder)))} == set(held)
    assert done(folder, "config", "get", "nice").out == f"{held['nice']}\n".encode()
    assert read_by_the_library({"": default(folder).read_text()}) == {"": ""}


def test_a_launch_takes_both_files(folder: Path) -> None:
    done(
        folder, "config", "set", "nice", "7", "num_processes", "3", "use_cpu", "true", "distributed_type", "MULTI_CPU"
    )
    (folder / "t.py").write_text("")
    rows = [line.split() for line in done(folder, "launch", "--explain", "t.py").out.decode().splitlines()]
    assert ["nice", "7", f"{own(folder)}:1"] in rows
    assert any(row[:2] == ["num_processes", "3"] and row[2].startswith(str(default(folder))) for row in rows)
    named = done(folder, "launch", "--config_file", str(default(folder)), "--explain", "t.py").out.decode()
    assert f"{own(folder)}:1" in named, "the default file by its name is the default file"
    done(folder, "config", "validate")
    default(folder).unlink()
    assert ["nice", "7", f"{own(folder)}:1"] in [
        line.split() for line in done(folder, "launch", "--explain", "t.py").out.decode().splitlines()
    ]
    assert b"nice" not in done(folder, "launch", "--cpu", "--explain", "t.py").out, "--cpu reads no default file"


@pytest.mark.exhaustive
def test_a_key_in_the_default_file_is_told_and_moved(folder: Path) -> None:
    text = default(folder).read_text() + "nice: 5 # lower\nprefix: true\n"
    default(folder).write_text(text)
    (folder / "t.py").write_text("")
    line = text.splitlines().index("nice: 5 # lower") + 1
    note = f"{default(folder)}:{line}: note: Hugging Face's library can't read this file because of nice; "
    assert note in done(folder, "config", "validate").out.decode()
    assert b"can't read this file because of nice" in call(["launch", "--dry_run", "t.py"], folder).out
    done(folder, "config", "set", "nice", "6")  # takes the key along
    assert "nice" not in default(folder).read_text()
    assert own(folder).read_text() == "nice: 6\n"
    changes = done(folder, "config", "update").out.decode()
    assert f"prefix is moved to {own(folder)}" in changes
    assert own(folder).read_text() == "nice: 6\nprefix: true\n"
    assert "moved" not in done(folder, "config", "update").out.decode()
    assert read_by_the_library({"": default(folder).read_text()}) == {"": ""}


def test_a_key_of_others_in_our_file_is_refused(folder: Path) -> None:
    """The library wouldn't find it there."""
    own(folder).write_text("num_processes: 2\n")
    found = call(["config", "validate"], folder)
    assert found.status == 1
    assert f"{own(folder)}:1: num_processes belongs in default_config.yaml" in found.text
    assert call(["launch", "t.py"], folder).status == 2


def test_another_file_holds_both(folder: Path) -> None:
    told = done(folder, "config", "set", "--config_file", "mine.yaml", "nice", "3", "num_processes", "2").out.decode()
    assert "note: Hugging Face's launcher rejects files with nice" in told
    assert (folder / "mine.yaml").read_text() == "nice: 3\nnum_processes: 2\n"
    assert not own(folder).exists()


def test_a_new_file_of_the_wizard_is_divided(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps settings without a question; those of ours go where the library doesn't look."""
    from accel_config.writing.own import divided, put

    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    both = {"nice": 5, "num_processes": 1}
    assert divided(both, str(folder / "elsewhere.yaml")) == (both, {})
    assert divided(both, str(default(folder))) == ({"num_processes": 1}, {"nice": 5})
    assert put(str(default(folder)), {"nice": 5}) == str(own(folder))
    assert own(folder).read_text() == "nice: 5\n"


def test_null_removes_a_key_from_both_files(folder: Path) -> None:
    default(folder).write_text(default(folder).read_text() + "nice: 3\n")
    own(folder).write_text("nice: 7 # a\njob_name: b\n")
    done(folder, "config", "set", "nice", "null")
    assert "nice" not in default(folder).read_text()
    assert own(folder).read_text() == "job_name: b\n"


def test_env_names_both_files_before_their_keys(folder: Path) -> None:
    own(folder).write_text("nice: 7\n")
    lines = done(folder, "env").out.decode().partition("default config")[2].splitlines()[1:]
    assert [line.partition(":")[0] for line in lines[:2]] == ["\t- file", "\t- own file"]
    assert "\t- nice: 7" in lines
