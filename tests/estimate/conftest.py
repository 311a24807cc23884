"""What the tests of accel-estimate share: a Hub on loopback, and model folders written by the real libraries."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file

from tests.estimate.hub_server import Hub

ROOT = Path(__file__).parents[2]
DTYPES: Mapping[str, Any] = {"F32": numpy.float32, "F16": numpy.float16, "I64": numpy.int64, "U8": numpy.uint8,
                             "I32": numpy.int32, "I8": numpy.int8}  # fmt: skip


def header(entries: Mapping[str, Any]) -> bytes:
    """Return a safetensors header with the given entries, true or false, without blanks as the library writes it."""
    text = json.dumps(entries, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text


def sized(shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16", width: int = 2) -> tuple[bytes, int]:
    """Return a true header for tensors of these shapes, and the size of the file that it would belong to."""
    entries, at = {}, 0
    for name, shape in shapes.items():
        size = width
        for dimension in shape:
            size *= dimension
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    front = header(entries)
    return front, len(front) + at


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a model folder with the real safetensors library: `write(name, {tensor: (dtype, shape)}, config)`."""

    def make(folder: str, tensors: Mapping[str, tuple[str, tuple[int, ...]]], config: Mapping[str, Any] | None = None,
             file: str = "model.safetensors") -> Path:  # fmt: skip
        path = tmp_path / folder
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        save_file({n: numpy.zeros(shape, DTYPES[dtype]) for n, (dtype, shape) in tensors.items()}, path / file)
        if config is not None:
            (path / "config.json").write_text(json.dumps(config))
        return path

    return make


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Start a Hub, and point the huggingface_hub of this process at it: no token, an empty cache."""
    from huggingface_hub import constants

    from accel_estimate.sources.hub import client

    server = Hub().start()
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(client, "RETRIES", (0.01, 0.01, 0.01))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.stop()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real command in a process of its own."""

    def start(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS"))}
        home = {"HF_HOME": str(tmp_path / "home"), "COLUMNS": "200"}
        return subprocess.run(
            [sys.executable, "-m", "accel_estimate", *argv], env=clean | home | env, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip

    return start


LLAMA: Mapping[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256,
    "max_position_embeddings": 512, "torch_dtype": "float32", "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture
def llama(write: Callable[..., Path]) -> Path:
    """A small Llama as a folder, every tensor as transformers names it."""
    from accel_estimate.model import families, parameters

    blueprint = families.read(LLAMA)
    assert blueprint is not None
    return write("llama", {t.name: ("F32", t.shape) for t in parameters.tensors(blueprint)}, LLAMA)
