"""GGUF headers: those of the real library to the byte, and those that lie."""

import struct
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

from accel_estimate import Ask, Serving, estimate, load
from accel_estimate.errors import CorruptFileError
from accel_estimate.formats import gguf
from accel_estimate.sources.source import LocalFile

Q = GGMLQuantizationType


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A small llama written by the real library, tokenizer and all."""
    path = tmp_path / "tiny-Q8_0.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_head_count_kv([2, 2])
    writer.add_vocab_size(100)
    writer.add_token_list([f"token {i}" for i in range(50_000)])
    writer.add_token_scores([0.0] * 50_000)
    writer.add_chat_template("{{ x }}" * 20_000)
    for name, shape, kind in _tensors():
        data = numpy.zeros(shape, numpy.float32)
        packed = data if kind is Q.F32 else quantize(data, kind)
        writer.add_tensor(name, packed, raw_dtype=None if kind is Q.F32 else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors() -> list[tuple[str, tuple[int, ...], GGMLQuantizationType]]:
    found = [("token_embd.weight", (100, 64), Q.Q8_0), ("output_norm.weight", (64,), Q.F32)]
    for block in range(2):
        found += [(f"blk.{block}.attn_q.weight", (64, 64), Q.Q4_0), (f"blk.{block}.ffn_up.weight", (128, 64), Q.BF16),
                  (f"blk.{block}.attn_k.weight", (32, 64), Q.Q4_0), (f"blk.{block}.attn_norm.weight", (64,), Q.F32)]  # fmt: skip
    return found


def test_agrees_with_the_library_to_the_byte(real: Path) -> None:
    tensors = {tensor.name: tensor for tensor in gguf.read(LocalFile(real)).tensors}
    assert set(tensors) == {name for name, _, _ in _tensors()}
    for name, shape, kind in _tensors():
        block, size = GGML_QUANT_SIZES[kind]
        assert tensors[name].shape == shape
        assert tensors[name].dtype == kind.name
        assert tensors[name].nbytes == int(numpy.prod(shape)) // block * size


def test_every_type_of_the_library_is_known_with_its_size() -> None:
    ours = {name: (block, size) for name, block, size in gguf.TYPES.values()}
    real_ones = {kind.name: sizes for kind, sizes in GGML_QUANT_SIZES.items()}
    shared = ours.keys() & real_ones.keys()
    assert {name: ours[name] for name in shared} == {name: real_ones[name] for name in shared}
    assert real_ones.keys() - ours.keys() == set()
    assert all(gguf.TYPES[int(kind)][0] == kind.name for kind in GGML_QUANT_SIZES)


def test_a_gguf_file_is_a_model_with_a_config(real: Path) -> None:
    report = estimate(load(str(real)), Ask(serving=Serving(context_len=1000, kv_dtype="float16")))
    assert report.parameters == 100 * 64 + 64 + 2 * (64 * 64 + 128 * 64 + 32 * 64 + 64)
    assert report.model.stored_bytes == sum(t.nbytes for t in gguf.read(LocalFile(real)).tensors)
    assert report.serving is not None
    assert report.serving.cache.used == 2 * 2 * (2 * 16) * 1000 * 2  # layers, key and value, two heads of 16, fp16
    assert report.to_json()["stored"]["exact"] is True


def test_several_quantisations_in_one_folder_are_asked_about(real: Path) -> None:
    (real.parent / "tiny-Q4_0.gguf").write_bytes(real.read_bytes())
    from accel_estimate.errors import UsageError

    with pytest.raises(UsageError, match=r"tiny-Q4_0\.gguf, tiny-Q8_0\.gguf"):
        load(str(real.parent))
    assert load(str(real.parent), file="tiny-Q8_0.gguf").tensors


def _key(name: bytes, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value


def _info(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return (struct.pack("<Q", len(name)) + name + struct.pack("<I", len(shape))
            + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset))  # fmt: skip


def _file(body: bytes = b"", *, tensors: int = 0, keys: int = 0, version: int = 3, data: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + body + bytes(data)


LIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "doesn't begin"),
    "another magic": (b"GGML" + bytes(100), "doesn't begin"),
    "version 1": (_file(version=1, data=64), "version 1"),
    "big endian": (_file(version=0x03000000, data=64), "big-endian"),
    "2**60 tensors": (_file(tensors=2**60, data=64), "claims 1,152,921,504,606,846,976 tensors"),
    "2**60 keys": (_file(keys=2**60, data=64), "keys, more than"),
    "ends in a key": (_file(keys=1, data=4), "claims|ended"),
    "a key of 2**40 bytes": (_file(struct.pack("<Q", 2**40), keys=1, data=64), "a name of"),
    "a string of 2**50 bytes": (_file(_key(b"a", 8, struct.pack("<Q", 2**50)), keys=1, data=64), "the header claims"),
    "an array of 2**50 strings": (_file(_key(b"a", 9, struct.pack("<IQ", 8, 2**50)), keys=1, data=64), "more than the file"),
    "an array of 2**50 numbers": (_file(_key(b"a", 9, struct.pack("<IQ", 4, 2**50)), keys=1, data=64), "the header claims"),
    "an array of arrays": (_file(_key(b"a", 9, struct.pack("<IQ", 9, 5)), keys=1, data=64), "unknown type 9"),
    "a value of no type": (_file(_key(b"a", 99, b""), keys=1, data=64), "unknown type 99"),
    "a key twice": (_file(_key(b"a", 0, b"\1") * 2, keys=2, data=64), "twice"),
    "a tensor twice": (_file(_info(b"t", (8,)) + _info(b"t", (8,), offset=32), tensors=2, data=128), "a tensor twice"),
    "overlap": (_file(_info(b"s", (16,)) + _info(b"t", (16,), offset=32), tensors=2, data=256), "overlaps"),
    "not aligned": (_file(_info(b"s", (4,), offset=4), tensors=1, data=256), "isn't aligned"),
    "nine dimensions": (_file(_info(b"s", (1,) * 9), tensors=1, data=256), "9 dimensions"),
    "impossible shape": (_file(_info(b"s", (2**40, 2**40)), tensors=1, data=256), "impossible shape"),
    "half a block": (_file(_info(b"s", (33,), kind=8), tensors=1, data=256), "impossible shape"),
    "a type of no name": (_file(_info(b"s", (32,), kind=77), tensors=1, data=256), "unknown type 77"),
    "less data than described": (_file(_info(b"s", (4096,)), tensors=1, data=256), "may be incomplete"),
    "alignment of nothing": (_file(_key(b"general.alignment", 4, struct.pack("<I", 0)), keys=1, data=64), "alignment of 0"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.replace(" ", "-"))
def test_a_lie_is_found_and_named(tmp_path: Path, lie: str) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(LIES[lie][0])
    with pytest.raises(CorruptFileError, match=LIES[lie][1]) as caught:
        gguf.read(LocalFile(path))
    assert "hostile.gguf" in str(caught.value)


def test_a_header_of_strings_takes_bounded_time(tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    count = 2_000_000
    path.write_bytes(_file(_key(b"a", 9, struct.pack("<IQ", 8, count) + bytes(8 * count)), keys=1, data=64))
    began = time.process_time()
    assert gguf.read(LocalFile(path)).tensors == ()
    assert time.process_time() - began < 8


def test_numbers_of_arrays_are_kept_up_to_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "wide.gguf"
    keys = b"".join(_key(b"%03d" % i, 9, struct.pack("<IQ", 10, 4096) + bytes(8 * 4096)) for i in range(100))
    path.write_bytes(_file(keys, keys=100, data=64))
    values = gguf.read(LocalFile(path)).values
    assert (len(values), sum(value is not None for value in values.values())) == (100, 16)


def test_a_cut_file_is_never_read_as_whole(real: Path, tmp_path: Path) -> None:
    whole = real.read_bytes()
    for size in (10, 23, 24, 40, 300, 400_000, len(whole) - 1):
        path = tmp_path / "cut.gguf"
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptFileError):
            gguf.read(LocalFile(path))


def test_over_the_network_only_the_header_is_read(hub: Any, real: Path) -> None:
    from tests.estimate.hub_server import File

    whole = real.read_bytes()
    hub.add("org/gguf", {"tiny.gguf": File(whole)})
    assert load("org/gguf").stored_bytes == sum(t.nbytes for t in gguf.read(LocalFile(real)).tensors)
    assert len(hub.requests("/resolve/")) <= 3
