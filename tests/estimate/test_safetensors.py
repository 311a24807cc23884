"""Safetensors headers: those of the real library to the byte, and those that lie."""

import json
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from accel_estimate.errors import CorruptFileError
from accel_estimate.formats import columns, safetensors, scan
from accel_estimate.sources.source import LocalFile
from tests.estimate.conftest import header
from tests.schedule import sampled


def _read(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    return list(safetensors.read(LocalFile(path)).each())


def test_agrees_with_the_library_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    arrays = {
        "a.weight": numpy.zeros((3, 5), numpy.float32),
        "b.weight": numpy.zeros((7,), numpy.float16),
        'naïve "name"\n.weight': numpy.zeros((2, 2, 2), numpy.int64),
        "scalar": numpy.zeros((), numpy.float64),
        "empty": numpy.zeros((0, 4), numpy.float32),
        "flags": numpy.zeros((9,), numpy.bool_),
    }
    save_file(arrays, path, metadata={"format": "pt", "note": 'braces {"a": [1, 2]} and "quotes"'})
    tensors = {tensor.name: tensor for tensor in safetensors.read(LocalFile(path)).each()}
    with safe_open(path, "np") as real:
        assert set(tensors) == set(real.keys())
        for name in real.keys():  # noqa: SIM118 - no mapping
            assert list(tensors[name].shape) == real.get_slice(name).get_shape()
            assert tensors[name].dtype == real.get_slice(name).get_dtype()
            assert tensors[name].nbytes == arrays[name].nbytes
    length = struct.unpack("<Q", path.read_bytes()[:8])[0]
    assert sum(t.nbytes for t in tensors.values()) == path.stat().st_size - 8 - length


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.text(max_size=12).filter(lambda t: t != "__metadata__"),
        st.lists(st.integers(0, 5), max_size=3),
        max_size=6,
    )
)
def test_any_names_and_shapes_the_library_writes(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, list[int]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "m.safetensors"
    try:
        save_file({name: numpy.zeros(shape, numpy.float32) for name, shape in shapes.items()}, path)
    except Exception:
        return
    assert {t.name: list(t.shape) for t in safetensors.read(LocalFile(path)).each()} == shapes


def test_blanks_and_another_order_of_keys_are_fine(tmp_path: Path) -> None:
    text = b'  { "x" : {"shape": [2], "data_offsets" : [0, 8], "dtype":"F32"} , "__metadata__":{"a":"}"} }   '
    tensors = _read(tmp_path / "f", struct.pack("<Q", len(text)) + text + bytes(8))
    assert [(t.name, t.nbytes) for t in tensors] == [("x", 8)]


def test_a_type_from_the_future_is_taken_at_its_word(tmp_path: Path) -> None:
    text = header({"x": {"dtype": "F2_NEW", "shape": [8], "data_offsets": [0, 2]}})
    assert _read(tmp_path / "f", text + bytes(2))[0].nbytes == 2


def test_types_below_a_byte(tmp_path: Path) -> None:
    text = header({"x": {"dtype": "F4", "shape": [2, 16], "data_offsets": [0, 16]}})
    assert _read(tmp_path / "f", text + bytes(16))[0].elements == 32


def _library(folder: Path, metadata: dict[str, str] | None = None) -> tuple[bytes, int]:
    """Return the header of a file that the library wrote, and the length of what follows it."""
    path = folder / "m.safetensors"
    arrays = {f"layers.{n}.{part}": numpy.zeros((n, 3), dtype) for n in range(12)
              for part, dtype in (("a", numpy.float32), ("b", numpy.int8), ("c", numpy.float16))}  # fmt: skip
    experts = {
        f"layers.0.experts.{n}.w": numpy.zeros((2, 3), numpy.float16 if n % 2 else numpy.int8) for n in range(4)
    }
    save_file(arrays | experts | {"scalar": numpy.zeros(())}, path, metadata=metadata)
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return content[8 : 8 + length], len(content) - 8 - length


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"a": "{}},", "b": "[1]", "": ""}], ids=["none", "one", "three"]
)
def test_what_the_library_writes_is_cut_up_as_a_whole(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    header, data = _library(tmp_path, metadata)
    cut = columns.cut(header, data, lambda: header)
    assert cut is not None
    assert sum(kind.copies for kind in cut.kinds) == 41
    assert {kind[:3]: kind.copies for kind in cut.kinds if kind.copies > 1} == {
        ("layers.0.experts.*.w", "F16", (2, 3)): 2,
        ("layers.0.experts.*.w", "I8", (2, 3)): 2,
    }
    assert list(cut.each()) == list(scan.scanned(header, data, "m").each())


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_nothing_is_cut_up_that_the_scan_reads_otherwise(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole, length = _library(tmp_path_factory.getbasetemp(), {"format": "pt"})
    header = whole
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(header)))
        end = at + data.draw(st.sampled_from([0, 1, 1, 2, 8]))
        chunk = data.draw(st.one_of(
            st.sampled_from([b"", b'"', b"}", b"]", b",", b"{", b"\\", b"0", b"1", b" ", b"\xff", b"_", b'":{"dtype":"']),
            st.integers(0, len(whole) - 1).map(lambda a: whole[a : a + 20]),
        ))  # fmt: skip
        header = header[:at] + chunk + header[end:]
    if (cut := columns.cut(header, length, lambda: header)) is not None:
        assert list(cut.each()) == list(scan.scanned(header, length, "m").each())


SWAPS = {
    "a number with a zero before it": (b'"shape":[2,3]', b'"shape":[02,3]'),
    "an offset with a zero before it": (b'"data_offsets":[0,', b'"data_offsets":[00,'),
    "type and shape swapped": (b'"dtype":"F32","shape":[2,3]', b'"shape":[2,3],"dtype":"F32"'),
    "a name twice": (b'"layers.3.a"', b'"layers.4.a"'),
    "a name twice, of two types": (b'"layers.0.experts.1.w"', b'"layers.0.experts.0.w"'),
    "metadata among the tensors": (b'"layers.3.a"', b'"__metadata__"'),
    "an escape in a name": (b'"layers.3.a"', b'"layers.3.\\u0061"'),
    "a quote in a name": (b'"layers.3.a"', b'"layers."3.a"'),
    "a type that is not known": (b'"F16"', b'"F2_NEW"'),
    "a name that is no text": (b'"layers.3.a"', b'"layers.\xff.a"'),
    "a blank": (b'"layers.3.a":', b'"layers.3.a" :'),
    "no end of an entry": (b']},"layers.3.a":', b'":'),
    "something after the last": (b"]}}", b']},"more]}}'),
    "another bracket at the end": (b"]}}", b"]}]"),
    "a name of 1100 letters": (b'"layers.3.a"', b'"' + b"a" * 1100 + b'"'),
}


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: swap.replace(" ", "-"))
def test_what_the_library_does_not_write_is_left_to_the_scan(tmp_path: Path, swap: str) -> None:
    header, data = _library(tmp_path)
    assert SWAPS[swap][0] in header
    assert columns.cut(header.replace(*SWAPS[swap], 1), data, bytes) is None
    assert columns.cut(header, data + 1, bytes) is None


def _entry(begin: int, end: int, shape: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def raw(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


LIES: dict[str, tuple[bytes, str]] = {
    "nothing at all": (b"", "too short"),
    "half a length": (b"\1\2\3", "too short"),
    "longer than the file": (struct.pack("<Q", 10_000) + b"{}", "whole file"),
    "a header of 100 MB": (struct.pack("<Q", 100_000_000) + b"{", "more than the 25,000,000"),
    "a header of 2**64 - 1": (b"\xff" * 8 + b"{}", "more than the 25,000,000"),
    "no JSON": (struct.pack("<Q", 4) + b"haha", "isn't a JSON object"),
    "a list": (struct.pack("<Q", 2) + b"[]", "isn't a JSON object"),
    "not closed": (struct.pack("<Q", 1) + b"{", "isn't a JSON object of tensor entries"),
    "cut in an entry": (struct.pack("<Q", 14) + b'{"a":{"dtype":', "isn't closed"),
    "something after": (struct.pack("<Q", 4) + b"{}{}", "follows the JSON"),
    "nested": (header({"a": {"dtype": {"x": {}}}}), "a type, a shape and two offsets"),
    "a number for an entry": (header({"a": 5}), "tensor entries"),
    "entry of nothing": (header({"a": {}}), "a type, a shape and two offsets"),
    "negative shape": (header({"a": _entry(0, 4, [-1])}), "a type, a shape and two offsets"),
    "shape of text": (header({"a": _entry(0, 4, ["1"])}), "a type, a shape and two offsets"),
    "shape of booleans": (header({"a": _entry(0, 4, [True])}), "a type, a shape and two offsets"),
    "absurd shape": (header({"a": _entry(0, 4, [2**62, 2**62])}), "impossible shape"),
    "more dimensions than sense": (header({"a": _entry(0, 4, [1] * 40)}), "impossible shape"),
    "huge number": (raw(b'{"a":{"dtype":"F32","shape":[' + b"9" * 3000 + b'],"data_offsets":[0,4]}}') + bytes(4),
                    "a type, a shape and two offsets"),
    "overlap": (header({"a": _entry(0, 8, [2]), "b": _entry(4, 12, [2])}) + bytes(12), "overlaps"),
    "hole": (header({"a": _entry(0, 4, [1]), "b": _entry(8, 12, [1])}) + bytes(12), "hole"),
    "ends before it begins": (header({"a": _entry(8, 4, [1])}) + bytes(8), "hole|before it begins"),
    "offsets against the shape": (header({"a": _entry(0, 8, [1])}) + bytes(8), "needs 4 bytes, but its offsets span 8"),
    "less data than described": (header({"a": _entry(0, 8, [2])}) + bytes(3), "may be incomplete"),
    "more data than described": (header({"a": _entry(0, 8, [2])}) + bytes(30), "the file holds 30"),
    "the same name twice": (raw(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                                b'"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}') + bytes(2), "twice"),
    "the same key twice": (raw(b'{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}') + bytes(1),
                           "a type, a shape and two offsets"),
    "a name of 5000 letters": (header({"a" * 5000: _entry(0, 4, [1])}) + bytes(4), "name is 5,000 bytes"),
    "a name that is no text": (raw(b'{"\xff\xfe":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}') + bytes(1),
                               "isn't valid text"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.replace(" ", "-"))
def test_a_lie_is_found_and_named(tmp_path: Path, lie: str) -> None:
    content, message = LIES[lie]
    with pytest.raises(CorruptFileError, match=message) as caught:
        _read(tmp_path / "hostile.safetensors", content)
    assert "hostile.safetensors" in str(caught.value)
    assert caught.value.status == 1


BOMBS: dict[str, Callable[[], bytes]] = {
    "brackets": lambda: raw(b'{"a":' + b"[" * 20_000_000),
    "small objects": lambda: raw(b'{"a":[' + b"{}," * 6_000_000 + b"{}]}"),
    "one long string": lambda: raw(b'{"a":{"dtype":"' + b"x" * 20_000_000 + b'"}}'),
    "backslashes": lambda: raw(b'{"' + b"\\" * 1_500_000),
    "blanks": lambda: raw(b"{" + b" " * 20_000_000),
    "metadata of many strings": lambda: raw(b'{"__metadata__":{"a":"' + b'","' * 300_000 + b'"}, 5}'),
    "metadata of backslashes": lambda: raw(b'{"__metadata__":{"a":"' + b"\\" * 1_500_000),
    "metadata of quotes": lambda: raw(b'{"__metadata__":{"a":"' + b'\\"' * 700_000),
    "many numbers": lambda: raw(b'{"a":{"dtype":"U8","shape":[' + b"1," * 9_000_000 + b"1]}}"),
    "many tensors": lambda: raw(
        b"{" + b",".join(b'"%d":{"dtype":"U8","shape":[],"data_offsets":[0,0]}' % i for i in range(60_000)) + b"}"
    ),
}


@pytest.mark.parametrize("bomb", sampled(BOMBS, every=4), ids=lambda bomb: bomb.replace(" ", "-"))
def test_time_and_memory_are_bounded_whatever_a_header_says(tmp_path: Path, bomb: str) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(BOMBS[bomb]())
    size = path.stat().st_size
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(CorruptFileError):
        safetensors.read(LocalFile(path))
    took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 20
    assert peak < 4 * size + 100_000_000


def test_json_cannot_be_smuggled_through_metadata(tmp_path: Path) -> None:
    text = json.dumps({"__metadata__": {"x": '"}},"y":{"dtype":'}, "a": _entry(0, 4, [1])}).encode()
    assert [t.name for t in _read(tmp_path / "f", raw(text) + bytes(4))] == ["a"]
