"""No command that shows values shows a secret: wherever it stands, and in whichever form."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from tests.calling import call
from tests.schedule import sampled

SEKRIT = "s3kr1t"
FORMS = {
    "nested JSON": json.dumps({"environment": {"DB_PASS": SEKRIT}, "a": [{"b": {"api_key": SEKRIT}}]}),
    "JSON in JSON": json.dumps({"a": json.dumps({"token": SEKRIT})}),
    "broken JSON": f'{{"password": "{SEKRIT}"',
    "list of arguments": json.dumps({"args": ["--password", SEKRIT, "--lr", "1"]}),
    "argument": f"--password {SEKRIT}",
    "variable": f"DB_PASS={SEKRIT}",
    "address": f"https://user:{SEKRIT}@host/x",
    "storage": f"s3://key:a/{SEKRIT}@bucket",
    "user": f"https://{SEKRIT}@host/x",
    "header": f"Authorization: Bearer {SEKRIT}",
    "key": f"-----BEGIN PRIVATE KEY-----\n{SEKRIT}\n-----END PRIVATE KEY-----",
    "Hugging Face": f"hf_{SEKRIT * 5}",
    "OpenAI": f"sk-{SEKRIT * 5}",
    "GitHub": f"ghp_{SEKRIT * 5}",
    "Slack": f"xoxb-{SEKRIT * 5}",
}
HELD = ("ADDITIONAL_ARGS", "MAIN_PROCESS_IP", "COMMANDS", "RUN_ID", "IMAGE_URI", "NUM_PROCESSES", "ENV", "RDZV_CONF", "JOB_TIME", "DEBUG", "PYTHON")  # fmt: skip
COMMANDS = (
    "env",
    "env --json",
    "env --config_file c.yaml",
    "config show --all",
    "config show --json",
    "config show --config_file c.yaml",
    "config validate --config_file c.yaml",
    "config update --config_file c.yaml",
    "launch --cpu --explain t.py",
    "launch --cpu --explain all t.py",
    "launch --cpu --dry_run t.py",
    "launch --cpu --dry_run --json t.py",
    "launch --cpu --kubernetes t.py",
    "launch --cpu --slurm t.py",
    "launch --config_file c.yaml --explain t.py",
    "launch --config_file c.yaml --dry_run --json t.py",
    "launch --config_file c.yaml --dry_run t.py",
    "tpu-config --config_file c.yaml --tpu_name a --tpu_zone b --command ls --dry_run",
    "to-fsdp2 --config_file c.yaml --overwrite",
)
FILE = """\
num_processes: 1
additional_args: {a: TEXT, b: [c, TEXT]}
sagemaker_tags: [TEXT]
image_uri: TEXT
run_id: TEXT
fsdp_config: {fsdp_version: 1, unknown: TEXT}
"""
WRONG = FILE + "num_machines: TEXT\nmixed_precision: TEXT\ndebug: TEXT\nunknown: TEXT\nTEXT: 1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t.py").write_text("")
    return tmp_path


SAMPLES = ("nested JSON", "argument", "address", "header", "Hugging Face")
EACH = [form if form in SAMPLES else pytest.param(form, marks=pytest.mark.exhaustive) for form in FORMS]


@pytest.mark.parametrize("form", EACH)
def test_of_variables(folder: Path, form: str) -> None:
    text = FORMS[form]
    for command in ("env", "env --json"):
        done = call(command.split(), folder, {f"ACCELERATE_LAUNCH_{name}": text for name in HELD} | {"HF_X": text})
        assert SEKRIT not in done.text, (command, done.text)


@pytest.mark.parametrize(("form", "name"), sampled(product(FORMS, HELD), every=14))
def test_of_a_variable(folder: Path, form: str, name: str) -> None:
    """Each by itself, since a message ends the command."""
    for command in ("launch --explain t.py", "launch --kubernetes t.py"):
        done = call(command.split(), folder, {f"ACCELERATE_LAUNCH_{name}": FORMS[form]})
        assert SEKRIT not in done.text, (command, done.text)


@pytest.mark.parametrize("text", [FILE, WRONG], ids=["right", "wrong"])
@pytest.mark.parametrize("command", sampled(COMMANDS, every=2))
def test_of_a_file(folder: Path, command: str, text: str) -> None:
    listed = ", ".join(map(json.dumps, FORMS.values()))
    (folder / "c.yaml").write_text(
        text.replace("[TEXT]", f"[{listed}]").replace("TEXT", json.dumps(FORMS["storage"]))
    )
    done = call(command.split(), folder, {"ACCELERATE_CONFIG_FILE": "c.yaml"})
    assert SEKRIT not in done.text


@pytest.mark.parametrize("form", EACH)
def test_of_a_wrong_value_in_a_file(folder: Path, form: str) -> None:
    (folder / "c.yaml").write_text(WRONG.replace("TEXT", json.dumps(FORMS[form])))
    for command in ("env", "config validate", "launch --explain t.py"):
        done = call(command.split(), folder, {"ACCELERATE_CONFIG_FILE": "c.yaml"})
        assert SEKRIT not in done.text, (command, done.text)


@pytest.mark.parametrize("form", EACH)
def test_of_a_word(folder: Path, form: str) -> None:
    words = FORMS[form].split(" ") if form == "argument" else [FORMS[form]]
    for command in (
        ["launch", "--cpu", "--dry_run", "t.py", *words],
        ["launch", "--cpu", "--dry_run", "--json", "t.py", *words],
        ["launch", "--num_processes", *words, "t.py"],
        ["launch", "--additional_args", *words, "t.py"],
        ["launch", "--cpu", "--explain", "--run_id", words[-1], "t.py"] if form != "argument" else ["env"],
        ["config", "set", "num_processes", FORMS[form]],
        ["config", "set", FORMS[form], "1"],
        ["config", FORMS[form]],
        ["tpu-config", "--tpu_name", "a", "--tpu_zone", "b", "--command", "ls", "--env", FORMS[form], "--dry_run"],
        ["tpu-config", "--tpu_name", "a", "--tpu_zone", "b", "--command", FORMS[form], "--dry_run"],
    ):
        done = call(command, folder)
        assert SEKRIT not in done.text, (command, done.text)


def test_a_dry_run_says_what_it_leaves_out(folder: Path) -> None:
    done = call(["launch", "--cpu", "--dry_run", "t.py", "--api_key", "abc", "--max_new_tokens", "128"], folder)
    assert b"t.py --api_key '***' --max_new_tokens 128" in done.out
    assert b"# note: secrets aren't shown: put them where *** stands\n" in done.out
    plain = call(["launch", "--cpu", "--dry_run", "t.py"], folder)
    assert b"***" not in plain.out
