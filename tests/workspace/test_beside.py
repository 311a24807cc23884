"""Beside the libraries of a training machine, of the last three years: installing us moves none of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.environments import UV, install
from tests.estimate.conftest import LLAMA, sized
from tests.estimate.hub_server import File, Hub

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.timeout(600),
    pytest.mark.skipif(UV is None, reason="uv isn't on PATH: nothing can be resolved or installed"),
]

OURS = [f"./packages/{path.name}" for path in sorted((ROOT / "packages").iterdir()) if path.name.startswith("accel-")]
OTHERS = [
    "transformers", "transformers<5", "transformers~=4.40.0", "transformers~=4.49.0", "trl", "trl<0.13", "trl~=0.8.0", "peft",
    "peft~=0.7.0", "accelerate", "accelerate~=0.25.0", "datasets", "datasets~=2.16.0", "diffusers", "diffusers~=0.25.0",
    "sentence-transformers", "sentence-transformers~=2.3.0", "timm", "timm~=0.9.0", "lightning", "lightning~=2.1.0",
    "deepspeed~=0.14.0", "torch~=2.2.0", "safetensors~=0.4.0", "boto3~=1.34.0", "huggingface-hub~=0.23.0", "rich~=13.7.0",
]  # fmt: skip


def resolved(*wanted: str) -> dict[str, str]:
    """The version of each distribution that an environment with these would have."""
    done = subprocess.run(
        [str(UV), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-sources", "--python-version", "3.11", "-"],
        input="\n".join(wanted), cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", done.stdout, re.MULTILINE))


@pytest.mark.parametrize("other", OTHERS)
def test_nothing_goes_back_in_time(other: str) -> None:
    together = resolved(other, *OURS)
    # AWS's library takes no python-dateutil from 3 on. Whoever has it, has that, with or without us.
    alone = resolved(other, *({"boto3"} & together.keys()))
    assert alone
    assert {name: together.get(name) for name in alone} == alone


# Both ends of what is accepted, and what libraries of the years between bring.
PAIRS = [
    ("huggingface-hub==0.23.0", "transformers==4.40.0"),
    ("huggingface-hub==0.26.0", "transformers==4.49.0"),
    ("huggingface-hub<1", "transformers<5"),
    ("huggingface-hub==1.0.0",),
    ("huggingface-hub==1.3.0", "transformers==5.0.0"),
    ("huggingface-hub", "transformers"),
]
USE = """
import sys
from accel_estimate import estimate, load
from accel_estimate.errors import AccessError, HubError, ModelNotFoundError
report = estimate(load("org/model"))
assert report.parameters == int(sys.argv[1]), report.parameters
for name, error in (("org/nothing", ModelNotFoundError), ("org/gated", AccessError)):
    try:
        load(name)
    except error:
        continue
    raise AssertionError(name)
if len(sys.argv) > 2:
    import transformers
    assert transformers.AutoConfig.from_pretrained("org/model").hidden_size == 64
    assert transformers.__version__
assert "accel_estimate.sources.hub.client" in sys.modules
"""
OUT_OF_REACH = """
from accel_estimate import load
from accel_estimate.errors import HubError
from accel_estimate.sources.hub import client
client.RETRIES = (0.01,)
try:
    load("org/model")
except HubError as error:
    assert "no usable answer in 2 tries" in str(error), error
else:
    raise AssertionError
"""


@pytest.mark.parametrize("pair", PAIRS, ids=" ".join)
def test_both_are_imported_and_used(tmp_path: Path, pair: tuple[str, ...]) -> None:
    python = install(
        tmp_path / "env", *(ROOT / "packages" / name for name in ("accel-config", "accel-estimate")), *pair
    )
    front, size = sized({"model.embed_tokens.weight": (64, 64)})
    files = {"model.safetensors": File(front, size), "config.json": json.dumps(LLAMA).encode()}
    hub = Hub(cdn=True).start()
    try:
        hub.add("org/model", files)
        hub.add("org/gated", files, gated=True)
        for code, address in ((USE, hub.endpoint + "/"), (OUT_OF_REACH, "http://127.0.0.1:9")):
            clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
            done = subprocess.run(
                [python / "python", "-W", "error::ResourceWarning", "-c", code, "4096", *pair[1:]],
                env=clean | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")},
                cwd=tmp_path, capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
    finally:
        hub.stop()
