"""The pages show what the command prints: a difference rewrites the page, and fails."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accel_estimate import options
from accel_estimate.devices import cards
from accel_estimate.model import families, parameters
from tests.estimate.conftest import ROOT, sized
from tests.estimate.hub_server import File, Hub

README = ROOT / "packages" / "accel-estimate" / "README.md"
COMMAND, FORMULAS = ROOT / "docs" / "estimate-memory.md", ROOT / "docs" / "estimate-formulas.md"
LLAMA_8B: dict[str, Any] = json.loads((Path(__file__).parent / "families.json").read_text())["Llama-3.1-8B"]["config"]


def current(path: Path, text: str) -> None:
    """Fail, and leave the new text in place, when it differs."""
    if path.read_text() != text:
        path.write_text(text)
        pytest.fail(f"{path.name} was not current; it has been rewritten: look at the difference, and commit it")


SESSION = re.compile(
    r"```console\n\$ ((?:accel-estimate|accelerate estimate-memory) meta-llama/[^\n]*)\n.*?```", re.DOTALL
)


@pytest.mark.parametrize(("page", "sessions"), [(README, 3), (COMMAND, 7)], ids=["readme", "page"])
def test_a_page_shows_what_the_command_prints(hub: Hub, run: Callable[..., Any], page: Path, sessions: int) -> None:
    blueprint = families.read(LLAMA_8B)
    assert blueprint is not None
    front, size = sized({tensor.name: tensor.shape for tensor in parameters.tensors(blueprint)})
    config = json.dumps({**LLAMA_8B, "max_position_embeddings": 131072, "torch_dtype": "bfloat16"}).encode()
    hub.add("meta-llama/Llama-3.1-8B", {"config.json": config, "model.safetensors": File(front, size)})

    def shown(match: re.Match[str]) -> str:
        words = match[1].removeprefix("accelerate estimate-memory").removeprefix("accel-estimate").split()
        done = run(*words, HF_ENDPOINT=hub.endpoint)
        assert done.stderr == ""
        return f"```console\n$ {match[1]}\n{done.stdout}```"

    text, count = SESSION.subn(shown, page.read_text())
    assert count == sessions
    current(page, text)


def test_the_command_page_lists_flags_families_and_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    text = COMMAND.read_text()
    flags = options.parser("accelerate estimate-memory", launch_config=True).format_help().rstrip()
    text = re.sub(r"```text\n.*?\n```", lambda _: f"```text\n{flags}\n```", text, flags=re.DOTALL)
    known = ", ".join(f"`{name}`" for name in sorted(families.FAMILIES))
    text = re.sub(r"(Known families: ).*?\.\n", lambda m: f"{m[1]}{known}.\n", text, flags=re.DOTALL)
    named = ", ".join(f"`{name}`" for name in (card.name for card in cards.CARDS))
    text = re.sub(r"(Known devices: ).*?\.\n", lambda m: f"{m[1]}{named}.\n", text, flags=re.DOTALL)
    current(COMMAND, text)


def test_the_formulas_name_constants_as_they_are() -> None:
    from accel_estimate.devices import runtime
    from accel_estimate.serving.settings import Serving
    from accel_estimate.training import step
    from accel_estimate.training.device import reserve

    text = FORMULAS.read_text()
    for name, value in (("CONTEXT", runtime.CONTEXT), ("SMALL", runtime.SMALL), ("NCCL", runtime.NCCL)):
        low, expected, high = (f"{amount / 2**30:g}" for amount in value)
        assert f"`{name}`: {low}, {expected}, {high} GiB" in text
    assert f"`ROUNDING`: {reserve.ROUNDING:.0%}" in text.replace(" %", "%")
    assert f"`MOST`: {reserve.MOST:g}" in text
    assert f"`UNCOUNTED`: {step.UNCOUNTED:g}" in text
    assert f"`--prefill_chunk`, {Serving.prefill_chunk:,} tokens" in text


def test_the_readmes_python_runs(hub: Hub) -> None:
    blueprint = families.read(LLAMA_8B)
    assert blueprint is not None
    front, size = sized({tensor.name: tensor.shape for tensor in parameters.tensors(blueprint)})
    hub.add(
        "meta-llama/Llama-3.1-8B",
        {"config.json": json.dumps(LLAMA_8B).encode(), "model.safetensors": File(front, size)},
    )
    found = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(found) == 1
    exec(found[0], {})  # noqa: S102 - our own page
