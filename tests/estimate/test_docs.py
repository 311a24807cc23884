"""What the documents show is what the command says: a difference rewrites the document, and fails."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accel_estimate import devices, families, layout, options
from tests.estimate.conftest import ROOT, sized
from tests.estimate.hub_server import File, Hub

README = ROOT / "packages" / "accel-estimate" / "README.md"
COMMAND, FORMULAE = ROOT / "docs" / "estimate-memory.md", ROOT / "docs" / "estimate-formulas.md"
LLAMA_8B: dict[str, Any] = json.loads((Path(__file__).parent / "families.json").read_text())["Llama-3.1-8B"]["config"]


def current(path: Path, text: str) -> None:
    """Fail, and leave the new text in place, when it differs."""
    if path.read_text() != text:
        path.write_text(text)
        pytest.fail(f"{path.name} was not current; it has been rewritten: look at the difference, and commit it")


def test_the_readme_shows_what_the_command_prints(hub: Hub, run: Callable[..., Any]) -> None:
    plan = families.blueprint(LLAMA_8B)
    assert plan is not None
    front, size = sized({tensor.name: tensor.shape for tensor in layout.tensors(plan)})
    config = json.dumps({**LLAMA_8B, "max_position_embeddings": 131072, "torch_dtype": "bfloat16"}).encode()
    hub.add("meta-llama/Llama-3.1-8B", {"config.json": config, "model.safetensors": File(front, size)})

    def shown(match: re.Match[str]) -> str:
        done = run(*match[1].split(), HF_ENDPOINT=hub.endpoint)
        assert done.stderr == ""
        return f"```console\n$ accel-estimate {match[1]}\n{done.stdout}```"

    text = README.read_text()
    assert text.count("$ accel-estimate") == 3
    current(README, re.sub(r"```console\n\$ accel-estimate ([^\n]*)\n.*?```", shown, text, flags=re.DOTALL))


def test_the_command_page_lists_flags_families_and_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    text = COMMAND.read_text()
    flags = options.parser("accelerate estimate-memory", launch_config=True).format_help().rstrip()
    text = re.sub(r"```text\n.*?\n```", lambda _: f"```text\n{flags}\n```", text, flags=re.DOTALL)
    known = ", ".join(f"`{name}`" for name in sorted(families.FAMILIES))
    text = re.sub(r"(alone describes: ).*?\.\n", lambda m: f"{m[1]}{known}.\n", text, flags=re.DOTALL)
    named = ", ".join(f"`{name}`" for name in devices.DEVICES)
    text = re.sub(r"(an amount or a name: ).*?\. Exit", lambda m: f"{m[1]}{named}. Exit", text, flags=re.DOTALL)
    current(COMMAND, text)


def test_the_formulae_name_constants_as_they_are() -> None:
    from accel_estimate import serving, training

    text = FORMULAE.read_text()
    for name, value in (("CONTEXT", training.CONTEXT), ("NCCL", training.NCCL)):
        low, expected, high = (f"{amount / 2**30:g}" for amount in value)
        assert f"`{name}`: {low}, {expected}, {high} GiB" in text
    assert f"`SLACK`: {', '.join(f'{part:.3g}' for part in training.SLACK)}" in text
    assert f"`UNCOUNTED`: {training.UNCOUNTED:g}" in text
    assert f"`CHUNK`: {serving.CHUNK:,}" in text


def test_the_readmes_python_runs(hub: Hub) -> None:
    plan = families.blueprint(LLAMA_8B)
    assert plan is not None
    front, size = sized({tensor.name: tensor.shape for tensor in layout.tensors(plan)})
    hub.add(
        "meta-llama/Llama-3.1-8B",
        {"config.json": json.dumps(LLAMA_8B).encode(), "model.safetensors": File(front, size)},
    )
    found = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(found) == 1
    exec(found[0], {})  # noqa: S102 - our own page
