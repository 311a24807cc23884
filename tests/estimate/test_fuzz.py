"""Random models of strangers for `estimate-memory`: each gives a report or one message, in bounded time and memory."""

from __future__ import annotations

import json
import os
import random
import resource
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accel_estimate.cli import main
from accel_estimate.model.families import FAMILIES
from tests.estimate.test_gguf import real as gguf_file  # noqa: F401  # pyright: ignore[reportUnusedImport]
from tests.fuzzing import fuzz

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(600)]

SECONDS = 20  # of CPU, for one model
GROWTH = 400_000 if sys.platform == "linux" else 400_000_000  # of ru_maxrss, for all
FLAGS = [
    [], ["--json"], ["--training"], ["--serving"], ["--training", "--lora_rank", "8"], ["--training", "--quantize", "nf4"],
    ["--serving", "--fits", "24GiB"], ["--training", "--sweep", "batch_size=1,2"], ["--training", "--zero_stage", "3", "--json"],
    ["--training", "--tp", "2", "--pp", "2"],
]  # fmt: skip


@pytest.fixture
def judged(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], int]:
    """Estimate a model; whatever it is, the command ends well."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def judge(argv: list[str]) -> int:
        began = time.process_time()
        status = main(argv)
        assert time.process_time() - began < SECONDS
        printed = capsys.readouterr()
        lines = printed.err.splitlines()
        assert status in (0, 1, 2)
        assert len(lines) == 0 if status == 0 else len(lines) <= (2 if "--help lists" in printed.err else 1)
        assert len(printed.err) < 5000
        assert all(letter.isprintable() or letter == "\n" for letter in printed.out + printed.err)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH
        return status

    return judge


def hostile(random: random.Random, depth: int = 2) -> Any:
    """Return a value that a config wouldn't have."""
    plain = [
        *(
            None,
            True,
            False,
            0,
            1,
            -1,
            3,
            2**31,
            2**40,
            2**63,
            2**64,
            10**30,
            0.5,
            -0.0,
            1e308,
            float("nan"),
            float("inf"),
        ),
        *("", "auto", "x" * 5000, "\x1b[2J", "a\nb", "\ud800", "../..", "9" * 5000, [], {}, [[]], [None], ["llama"]),
        *(random.choice(list(FAMILIES)), "sliding_attention", "full_attention", "float32", "F32"),
    ]
    if depth and random.random() < 0.2:
        return [hostile(random, depth - 1) for _ in range(random.randrange(4))]
    if depth and random.random() < 0.2:
        return {random.choice(KEYS): hostile(random, depth - 1) for _ in range(random.randrange(4))}
    return random.choice(plain)


CONFIGS: list[dict[str, Any]] = [
    entry["config"] for entry in json.loads((Path(__file__).parent / "families.json").read_text()).values()
]
KEYS = sorted(
    {key for config in CONFIGS for key in config}
    | {
        "text_config",
        "llm_config",
        "quantization_config",
        "torch_dtype",
        "dtype",
        "layer_types",
        "sliding_window",
        "gguf",
    }
    | {
        "tie_word_embeddings",
        "bits",
        "config_groups",
        "weights",
        "num_bits",
        "sliding_window_pattern",
        "architectures",
    }
    | {
        "use_sliding_window",
        "quant_method",
        "num_experts",
        "attn_logit_softcapping",
        "block_configs",
        "attn_type_list",
    }
)


def changed(random: random.Random, config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with some values replaced, removed or added."""
    found = dict(config)
    for _ in range(random.randrange(1, 5)):
        key = random.choice(sorted(found) if found and random.random() < 0.7 else KEYS)
        if random.random() < 0.15:
            found.pop(key, None)
        else:
            found[key] = hostile(random)
    if random.random() < 0.2:
        found = {"model_type": "llava", random.choice(["text_config", "llm_config", "language_config"]): found}
    return found


def scratched(random: random.Random, content: bytes) -> bytes:
    """Return the bytes with some changed, missing or repeated."""
    found = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 5, 30])):
        at = random.randrange(len(found) or 1)
        match random.randrange(5):
            case 0 if found:
                found[at] = random.randrange(256)
            case 1:
                del found[at : at + random.randrange(1, 20)]
            case 2:
                found[at:at] = random.choice(
                    [b"[", b"{", b"9" * 5000, b"\\", b'"', b"\xff" * 8, b"[" * 3000, b"\0" * 8]
                )
            case 3:
                found[at : at + 8] = random.choice(
                    [b"\xff" * 8, struct.pack("<Q", 2 ** random.randrange(63)), b"\0" * 8]
                )
            case _:
                found[at:at] = found[at : at + random.randrange(1, 60)]
    return bytes(found)


def test_configs(tmp_path: Path, llama: Path, judged: Callable[[list[str]], int]) -> None:
    folders = [tmp_path / "config alone", llama]
    folders[0].mkdir()
    ended = set[int]()

    def one_round(random: random.Random) -> None:
        text = json.dumps(changed(random, random.choice(CONFIGS))).encode()
        if random.random() < 0.2:
            text = scratched(random, text)
        folder = random.choice(folders)
        (folder / "config.json").write_bytes(text)
        ended.add(judged([str(folder), *random.choice(FLAGS)]))

    fuzz(one_round)
    assert ended == {0, 1, 2} or "FUZZ_SEED" in os.environ


def test_safetensors(llama: Path, judged: Callable[[list[str]], int]) -> None:
    content = (llama / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    sharded = llama.parent / "sharded"
    sharded.mkdir()

    def one_round(random: random.Random) -> None:
        if random.random() < 0.3:
            index = {"metadata": {}, "weight_map": {"a": "model.safetensors", "b": hostile(random)}}
            (sharded / "odd.safetensors").write_bytes(content)
            text = (
                scratched(random, json.dumps(index).encode()) if random.random() < 0.5 else json.dumps(index).encode()
            )
            (sharded / "model.safetensors.index.json").write_bytes(text)
            judged([str(sharded)])
            return
        if random.random() < 0.5:
            text = scratched(random, content[8 : 8 + length])
        else:
            entries = dict(header)
            for _ in range(random.randrange(1, 4)):
                name = random.choice(sorted(entries))
                new = hostile(random)
                if isinstance(entries[name], dict) and random.random() < 0.7:
                    entries[name] = {**entries[name], random.choice(["dtype", "shape", "data_offsets", "more"]): new}
                else:
                    entries[str(new)[:6000]] = entries.pop(name)
            text = json.dumps(entries, separators=(",", ":")).encode()
        size = len(text) if random.random() < 0.8 else random.choice([0, 2**63, 2**64 - 1, length, 25_000_000])
        (llama / "model.safetensors").write_bytes(struct.pack("<Q", size) + text + content[8 + length :])
        judged([str(llama), *random.choice(FLAGS)])

    fuzz(one_round)


def test_gguf(gguf_file: Path, judged: Callable[[list[str]], int]) -> None:  # noqa: F811
    content = gguf_file.read_bytes()
    start, end = content.index(b"tokenizer"), content.index(b"token_embd")

    def one_round(random: random.Random) -> None:
        if random.random() < 0.6:
            found = scratched(random, content[:start]) + content[start:]
        else:
            found = content[: end - 8] + scratched(random, content[end - 8 : end + 900]) + content[end + 900 :]
        gguf_file.write_bytes(found)
        judged([str(gguf_file), *random.choice(FLAGS)])

    fuzz(one_round)
