"""`launch --check_memory`: what can't fit is rejected before the start, what may not is noted, and torch stays out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from accel_estimate import Ask, Recipe, estimate, load
from tests.conftest import Run

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "train.py").write_text("print('trained')\n")
    return str(tmp_path / "model")


def between(model: str) -> tuple[str, str, str]:
    """Return amounts below low, between low and expected, and above expected, of a run with bf16."""
    training = estimate(load(model), Ask(training=Recipe(mixed_precision="bf16"))).training
    assert training is not None
    low, middle = training.low - 2**30, (training.low + training.expected) / 2
    return tuple(f"{round(amount / 2**20)}MiB" for amount in (low, middle, training.expected + 2**30))  # pyright: ignore[reportReturnType]


def test_what_cannot_fit_is_rejected_what_may_not_is_noted(accelerate: Run, tmp_path: Path, model: str) -> None:
    script = str(tmp_path / "train.py")
    none, perhaps, enough = between(model)
    words = ("launch", "--cpu", "--mixed_precision", "bf16", "--check_memory")
    done = accelerate(*words, f"{model} --fits {none}", script)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--check_memory" in done.stderr
    assert "needs at least" in done.stderr
    done = accelerate(*words, f"{model} --fits {perhaps}", script)
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert "is expected to need" in done.stderr
    assert "Fits with a script that does --" in done.stderr
    done = accelerate(*words, f"{model} --fits {enough}", script)
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert "memory" not in done.stderr
    done = accelerate(*words, f"{model} --fits {none} --lora_rank 8 --gradient_checkpointing full", script)
    assert "trained\n" in done.stdout


def test_a_file_whose_model_cannot_be_read_is_not_valid(accelerate: Run, tmp_path: Path, model: str) -> None:
    config = tmp_path / "c.yaml"
    for words, why in ((f"{model} --sequence 9", "--sequence"), (f"{model} --zero_stage 3", "the launch decides it")):
        config.write_text(f"use_cpu: true\nmodel: {words}\n")
        done = accelerate("config", "validate", "--config_file", str(config))
        assert (done.returncode, why in done.stdout, f"{config}:2: " in done.stdout) == (1, True, True), done.stdout
    config.write_text("use_cpu: true\nmodel: not/here --seq_len 512\n")
    assert accelerate("config", "validate", "--config_file", str(config)).returncode == 0, (
        "only the words are checked"
    )


def test_the_config_file_names_the_model(accelerate: Run, tmp_path: Path, model: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"model: {model} --fits 1GiB\nuse_cpu: true\n")
    done = accelerate("launch", "--config_file", str(config), str(tmp_path / "train.py"))
    assert done.returncode == 2
    assert "c.yaml:1" in done.stderr
    dry = accelerate("launch", "--config_file", str(config), "--dry_run", str(tmp_path / "train.py"))
    assert dry.returncode == 0
    assert "needs at least" in dry.stdout + dry.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("{} --fits h1000", 2, "neither an amount"),
        ("{} --lora", 2, "write a model, and flags of `estimate-memory --training` after it"),
        ("{} --fits 1GiB --trace", 2, "--trace, --serving, --sweep and --html have no place here"),
        ("'", 2, "write a model"),
        (
            "{} --fsdp_version 1",
            2,
            "--fsdp_version has no place here, the launch decides it: set --fsdp_version of the launch",
        ),
        ("{}/nothing --fits 1GiB", 2, "no such file or folder"),
        ("owner/name --fits 1GiB", 0, "nor in the Hub's cache"),
        ("{}", 0, "the memory of CPU isn't known"),
    ],
)
def test_mistakes_are_named(
    accelerate: Run, tmp_path: Path, model: str, words: str, status: int, message: str
) -> None:
    done = accelerate("launch", "--cpu", "--check_memory", words.format(model), str(tmp_path / "train.py"))
    assert done.returncode == status
    assert message in done.stderr


def test_a_model_of_the_hub_is_read_from_its_cache(accelerate: Run, tmp_path: Path, model: str) -> None:
    folder = tmp_path / "hub" / "models--owner--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots").mkdir()
    Path(model).rename(folder / "snapshots" / "abc")
    words = ("launch", "--cpu", "--check_memory", "owner/name --fits 1GiB", str(tmp_path / "train.py"))
    done = accelerate(*words, env={"HF_HUB_CACHE": str(tmp_path / "hub")})
    assert (done.returncode, "needs at least" in done.stderr) == (2, True)


def test_the_check_imports_neither_torch_nor_the_hubs_client(tmp_path: Path, model: str) -> None:
    import subprocess

    code = (
        "import sys; from accel_launch.cli import main; "
        f"status = main(['--cpu', '--dry_run', '--check_memory', {model!r} + ' --fits 1GiB', {str(tmp_path / 'train.py')!r}]); "
        "bad = {'torch', 'transformers', 'huggingface_hub', 'rich', 'httpx'} & set(sys.modules); print(status, sorted(bad))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "needs at least" in done.stdout + done.stderr


def test_devices_are_known_by_the_drivers_names() -> None:
    from accel_cli.gate import _device
    from accel_launch.machine.devices import Device
    from accel_launch.planning.layout import Layout

    def layout(*models: str) -> Any:
        devices = tuple(Device("GPU", str(place), model=model) for place, model in enumerate(models))
        return Layout("MULTI_GPU", len(models), len(models), 1, 0, False, devices, None)

    assert _device(layout("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB")) == "a100-40gb"
    assert _device(layout("NVIDIA GeForce RTX 4090", "something else")) is None
    assert _device(layout("NVIDIA GeForce RTX 4090 Laptop GPU")) is None
    assert _device(layout()) is None


def test_without_accel_cli_the_way_to_get_it_is_named(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    from accel_config import CATALOGUE, AccelError, layers, resolve, split
    from accel_launch.planning.checks import memory
    from accel_launch.planning.findings import Findings
    from accel_launch.planning.layout import Layout

    found = layers(CATALOGUE, split(CATALOGUE, ["--check_memory", model, "train.py"]), {})
    settings = resolve(CATALOGUE, found.values, found.notes)
    layout = Layout("NO", 1, 1, 1, 0, cpu=True, devices=(), narrowed=None)
    findings = Findings(lenient=False)
    memory.check(settings, layout, findings, job=True)
    assert "has no effect" in findings.notes[0]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    with pytest.raises(AccelError, match=r"needs accel-cli: .*install"):
        memory.check(settings, layout, findings, job=False)


def gate(model: str, words: str, *flags: str, total: int = 1) -> tuple[str, list[str]]:
    from accel_cli.gate import check
    from accel_config import CATALOGUE, layers, resolve, split
    from accel_launch.planning.layout import Layout

    given = split(CATALOGUE, [*flags, "--check_memory", f"{model} {words}", "train.py"])
    found = layers(CATALOGUE, given, {})
    layout = Layout("NO", total, total, 1, 0, cpu=True, devices=(), narrowed=None)
    return check(resolve(CATALOGUE, found.values, found.notes), layout)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--mixed_precision bf16",
            "--mixed_precision has no place here, the launch decides it: set --mixed_precision",
        ),
        ("--fsdp full", "set --use_fsdp with --fsdp_reshard_after_forward"),
        ("--zero_stage 3", "set --use_deepspeed with --zero_stage"),
        ("--offload-param-device cpu", "set --offload_param_device"),
        ("--num_processes 8", "set --num_processes"),
        ("--lora_rnk 16", ": unrecognized arguments: --lora_rnk 16. Did you mean '--lora_rank'?; write a model"),
        ("--lora_rank x", ": argument --lora_rank/--lora-rank: invalid int value: 'x'; write a model"),
    ],
)
def test_the_run_that_starts_is_the_one_checked(
    model: str, capfd: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    from accel_config import AccelError

    with pytest.raises(AccelError) as raised:
        gate(model, f"--fits h100 {words}")
    assert message in str(raised.value)
    assert "--check_memory" in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_what_would_fit_is_told_in_settings_of_the_launch(model: str) -> None:
    from accel_config import CATALOGUE, layers, resolve, split

    refused, _ = gate(model, "--fits 12GiB", "--num_processes", "8", total=8)
    flags = refused.partition("Fits with ")[2].partition(" of launch")[0].split()
    script = refused.partition("a script that does ")[2].partition(" (write it")[0]
    found = layers(CATALOGUE, split(CATALOGUE, [*flags, "train.py"]), {})
    assert resolve(CATALOGUE, found.values, found.notes).value("use_fsdp").value is True
    assert gate(model, f"--fits 12GiB {script}", "--num_processes", "8", *flags, total=8) == ("", [])
    assert gate(model, "--fits 8x12GiB", "--use_fsdp")[0], "devices that the launch doesn't use hold nothing"


def test_an_empty_model_is_not_no_check(accelerate: Run, tmp_path: Path, model: str) -> None:
    done = accelerate("launch", "--cpu", "--check_memory", "", str(tmp_path / "train.py"))
    assert (done.returncode, "write a model" in done.stderr) == (2, True)
