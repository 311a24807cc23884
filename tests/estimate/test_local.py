"""Models on disk: exact, quick, and without what a local folder does not need."""

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accel_estimate import Ask, estimate, load
from accel_estimate.cli import main
from accel_estimate.errors import CorruptFileError, ModelNotFoundError, NoWeightsError
from tests.estimate.conftest import LLAMA


def test_a_folder_is_read_to_the_byte(llama: Path) -> None:
    model = load(str(llama))
    file = llama / "model.safetensors"
    header = 8 + int.from_bytes(file.read_bytes()[:8], "little")
    assert model.stored_bytes == file.stat().st_size - header
    report = estimate(model).to_json()
    assert report["parameters"] * 4 == report["stored_bytes"] == report["dtypes"]["float32"]["total_bytes"]
    assert report["stored"] | {"by_component": None} == {
        "origin": "safetensors", "exact": True, "by_dtype": {"F32": model.stored_bytes}, "by_component": None,
        "largest_layer": {"name": "model.layers.0", "bytes": 4 * (64 * 64 * 2 + 32 * 64 * 2 + 3 * 64 * 128 + 2 * 64)},
    }  # fmt: skip
    assert sum(report["stored"]["by_component"].values()) == model.stored_bytes


def test_a_single_file_takes_the_config_beside_it(llama: Path) -> None:
    model = load(str(llama / "model.safetensors"))
    assert model.config["model_type"] == "llama"
    assert model.stored_bytes == load(str(llama)).stored_bytes


def test_shards_and_their_variants(write: Callable[..., Path]) -> None:
    for part in (1, 2):
        path = write("m", {f"layers.{part}.w": ("F16", (4, 4))}, file=f"model-{part:05}-of-00002.safetensors")
    write("m", {"layers.1.w": ("F16", (4, 4))}, file="model.fp16.safetensors")
    write("m", {"other": ("F16", (4, 4))}, file="onnx/model.safetensors")
    assert load(str(path)).stored_bytes == 64
    (path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CorruptFileError, match="shard 2 of 2 is missing"):
        load(str(path))


def test_a_tied_head_that_is_stored_too_counts_once(write: Callable[..., Path]) -> None:
    tensors = {
        "model.embed_tokens.weight": ("F32", (16, 8)),
        "lm_head.weight": ("F32", (16, 8)),
        "norm.weight": ("F32", (8,)),
    }
    untied = estimate(load(str(write("untied", tensors, LLAMA))))
    tied = estimate(load(str(write("tied", tensors, {**LLAMA, "tie_word_embeddings": True}))))
    assert (untied.parameters, tied.parameters) == (264, 136)
    assert untied.model.stored_bytes == tied.model.stored_bytes == 4 * 264
    assert "tied to the embeddings" in tied.notes[0]


def test_a_tensor_in_two_shards_counts_once(write: Callable[..., Path]) -> None:
    for part in (1, 2):
        path = write(
            "m",
            {"shared.w": ("F32", (4,)), f"own.{part}.w": ("F32", (4,))},
            file=f"model-{part:05}-of-00002.safetensors",
        )
    report = estimate(load(str(path)))
    assert (report.parameters, report.model.stored_bytes) == (12, 64)
    assert "more than one shard" in report.notes[0]


def test_only_a_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "torch_dtype": "bfloat16"}))
    model = load(str(tmp_path))
    assert (model.origin, model.exact) == ("config.json", False)
    assert model.stored_bytes == 2 * estimate(model).parameters


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no such file or folder"):
        load(str(tmp_path / "nothing"))
    with pytest.raises(NoWeightsError, match="no safetensors or GGUF file"):
        load(str(tmp_path))


def test_a_local_folder_loads_no_network_and_no_torch(llama: Path) -> None:
    code = ("import sys; from accel_estimate.cli import main; main([sys.argv[1], '--json', '--training', '--serving']); "
            "print(*(m for m in ('torch', 'transformers', 'huggingface_hub', 'rich', 'httpx2', 'httpx', 'numpy') "
            "if m in sys.modules), file=sys.stderr)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, str(llama)], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    assert json.loads(done.stdout)["training"]["expected_bytes"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a file that opens and can't be read by root")
def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to("/proc/self/mem")
    with pytest.raises(ModelNotFoundError, match=r"model\.safetensors: can't be read: Input/output error"):
        load(str(tmp_path))


def test_a_broken_symlink_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(NoWeightsError):
        load(str(tmp_path))


def test_headers_are_bounded_together(tmp_path: Path) -> None:
    """Each is within its limit; what four of them would take isn't read."""
    for number in range(1, 5):
        with (tmp_path / f"model-0000{number}-of-00004.safetensors").open("wb") as file:
            file.write((25_000_000).to_bytes(8, "little") + b"{}")
            file.write(b" " * (25_000_000 - 2))
    with pytest.raises(CorruptFileError, match="more than the 67,108,864 bytes that are accepted together"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        '{"model_type": []}', '{"model_type": {}}', '{"model_type": 3}', '{"vocab_size": ' + "9" * 5000 + "}",
        "[" * 100_000, '{"a":' * 100_000, '{"a":[' + "{}," * 200_000 + "{}]}", "[]", "3", '"', "\ud800", "", "nul",
        '{"model_type": "llama", "hidden_size": 1e400}', '{"model_type": "llama", "hidden_size": true}',
        json.dumps({**LLAMA} | {"tie_word_embeddings": "false"}), json.dumps({**LLAMA} | {"layer_types": "full"}),
        json.dumps({**LLAMA} | {"num_attention_heads": [4]}), '{"model_type": "\\u001b[2J"}',
    ],
)  # fmt: skip
def test_a_config_of_a_stranger_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogatepass"))
    tracemalloc.start()
    status = main([str(tmp_path)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert status in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert len(line) < 1200
    assert peak < 30_000_000


@pytest.mark.parametrize("text", ['{"weight_map": {' + '"a": {},' * 200_000 + '"b": []}}', '{"weight_map": ["../../etc/passwd"]}',
                                  '{"weight_map": {"a": "../outside.safetensors"}}', '{"weight_map": {"a": "/etc/passwd"}}',
                                  '{"weight_map": {"a": "' + "x" * 100_000 + '"}}', '{"weight_map": {"a": 9' + "9" * 5000 + "}}"])  # fmt: skip
def test_an_index_of_a_stranger_is_a_message(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    write(".", {"a": ("F32", (2,))}, file="outside.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(text)
    assert main([str(folder)]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) < 1200


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from Linux's /proc")
def test_memory_of_the_longest_headers(tmp_path: Path) -> None:
    """Four headers with as many tensors as are accepted: under 700 MB, where four of 25 MB took 825."""
    number = 0
    for shard in range(1, 5):
        entries: list[str] = []
        begin, length = number, 0
        while length < 16_600_000:
            at = number - begin
            name = f"model.layers.{number}.self_attn.q_proj.weight"
            entries.append(f'"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[{at},{at + 1}]}}')
            number, length = number + 1, length + len(entries[-1]) + 1
        front = ("{" + ",".join(entries) + "}").encode()
        with (tmp_path / f"model-0000{shard}-of-00004.safetensors").open("wb") as file:
            file.write(len(front).to_bytes(8, "little") + front)
            file.truncate(8 + len(front) + len(entries))
    code = (
        "import re, sys; from accel_estimate.cli import main; assert main([sys.argv[1]]) == 0;"
        # not ru_maxrss, which counts the process that this one was forked from
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 700_000


def test_only_the_hub_reports_progress(llama: Path) -> None:
    steps: list[Any] = []

    def report(done: int, whole: int) -> None:
        steps.append((done, whole))

    load(str(llama), progress=report)
    assert steps == []


def test_dtypes_keep_their_order_and_repeats(llama: Path) -> None:
    report = estimate(load(str(llama)), Ask(dtypes=("int8", "float32", "int8")))
    assert [row.dtype for row in report.rows] == ["int8", "float32", "int8"]
