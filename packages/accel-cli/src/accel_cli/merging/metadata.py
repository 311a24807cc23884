"""The metadata of a checkpoint, which may be untrusted: read into records, each value of exactly its own type."""

from __future__ import annotations

from math import prod

from accel_cli.merging import inert
from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_METADATA = "torch.distributed.checkpoint.metadata"
_OLD = "torch.distributed._shard.sharded_tensor.metadata"  # torch before 2.3
_ALLOWED = {
    ("torch", "Size"), ("torch.serialization", "_get_layout"),
    (_OLD, "TensorProperties"), (_OLD, "MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
}  # fmt: skip
_PATHS = ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "Path")
_LARGEST = 2**62
_LONGEST_NAME = 10_000  # characters


class Place(Record):
    """The bytes of a file that hold a value."""

    file: str
    start: int
    length: int


class Piece(Record):
    """A part of a tensor: where it belongs in the tensor, its shape, and where it is stored."""

    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    place: Place


class Sharded(Record):
    """A tensor: its type by torch's name, its shape, and the pieces that make it up."""

    dtype: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]


class Metadata(Record):
    """What a checkpoint holds, by key: tensors, and where pickles of other values are."""

    tensors: Mapping[str, Sharded]
    others: Mapping[str, Place]
    paths: Mapping[str, tuple[str, ...]]
    """The path of each key in the nested state that was saved."""
    places: tuple[Place, ...]
    """The place of each value, used or not."""


def read(content: bytes) -> Metadata:
    """Return the metadata in a file's content.

    Raises:
        ValueError: it holds something else, names files outside its folder, or contradicts itself.
        Exception: it isn't a pickle.
    """
    whole = _state(inert.load(content, _is_allowed), "Metadata")
    storage: dict[tuple[str, tuple[int, ...] | None], Place] = {}
    for index, info in _mapping(whole.get("storage_data")).items():
        at = _state(index, "MetadataIndex")
        offset = at.get("offset")
        storage[_text(at.get("fqn")), None if offset is None else _size(offset)] = _place(info)
    tensors: dict[str, Sharded] = {}
    others: dict[str, Place] = {}
    for key, value in _mapping(whole.get("state_dict_metadata")).items():
        if _kind(value) == "BytesStorageMetadata":
            others[_text(key)] = _found(storage, key, None)
        else:
            tensors[_text(key)] = _tensor(key, _state(value, "TensorStorageMetadata"), storage)
    planned = _mapping(whole.get("planner_data") or {})
    paths = {key: _path(planned.get(key, (key,))) for key in [*tensors, *others]}
    return Metadata(tensors, others, paths, tuple(storage.values()))


def _is_allowed(module: str, name: str) -> bool:
    if (module, name) in _ALLOWED or module == _METADATA:
        return True
    if inert.is_torch_type(module, name):
        return True
    return module.partition(".")[0] == "pathlib" and name in _PATHS  # in Python 3.13 they are in a submodule


def _kind(value: Any) -> str:
    """Return the name, without its module, of what a value claims to be."""
    return value.name.rpartition(".")[2] if isinstance(value, inert.Named) else type(value).__name__


def _state(value: Any, wanted: str) -> Mapping[str, Any]:
    if _kind(value) != wanted or not isinstance(value, inert.Named) or type(value.state) is not dict:
        raise ValueError(
            f"it holds a {_kind(value)}, not {wanted}" if wanted == "Metadata" else f"{wanted} is malformed"
        )
    return value.state  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]


def _mapping(value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError("a mapping is missing")
    return value  # pyright: ignore[reportUnknownVariableType]


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > _LONGEST_NAME:
        raise ValueError("a name isn't text, or too long")
    value.encode()  # which refuses halves of surrogate pairs, as no file can hold them
    return value


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ValueError("a size or place isn't a possible number")
    return value


def _size(value: Any) -> tuple[int, ...]:
    if _kind(value) != "Size" or (value.arguments and type(value.arguments[0]) is not tuple):
        raise ValueError("a shape isn't a torch.Size")
    return tuple(map(_number, value.arguments[0])) if value.arguments else ()


def _place(value: Any) -> Place:
    """Return where a value is stored: in a plain file of the same folder."""
    state = _state(value, "_StorageInfo")
    name = state.get("relative_path")
    if type(name) is not str:
        raise ValueError("the name of a file isn't text")
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"it names {name[:100]!r}, which isn't a file in the same folder")
    if state.get("transform_descriptors"):
        raise ValueError("its shards are compressed or encrypted, which isn't supported")
    return Place(name, _number(state.get("offset")), _number(state.get("length")))


def _found(storage: Mapping[Any, Place], key: str, offset: tuple[int, ...] | None) -> Place:
    place = storage.get((key, offset))
    if place is None:
        raise ValueError(f"it doesn't say where a part of {key[:100]} is stored")
    return place


def _tensor(key: str, state: Mapping[str, Any], storage: Mapping[Any, Place]) -> Sharded:
    shape, pieces = _size(state.get("size")), dict[tuple[int, ...], Piece]()
    if type(chunks := state.get("chunks")) is not list:
        raise ValueError(f"{key[:100]} has no list of pieces")
    for chunk in chunks:  # pyright: ignore[reportUnknownVariableType]
        part = _state(chunk, "ChunkStorageMetadata")
        at, sizes = _size(part.get("offsets")), _size(part.get("sizes"))
        if not len(at) == len(sizes) == len(shape) or any(
            start + size > whole for start, size, whole in zip(at, sizes, shape, strict=True)
        ):
            raise ValueError(f"a part of {key[:100]} lies outside of it")
        if pieces.setdefault(at, piece := Piece(at, sizes, _found(storage, key, at))) != piece:
            raise ValueError(f"parts of {key[:100]} overlap")
    if sum(prod(piece.shape) for piece in pieces.values()) != prod(shape):
        raise ValueError(f"the parts of {key[:100]} don't make up the whole")
    return Sharded(_dtype(state.get("properties")), shape, tuple(pieces.values()))


def _dtype(properties: Any) -> str:
    """Return the name of a tensor's type. The rest of its properties doesn't change its values."""
    state: Any = properties.state if _kind(properties) == "TensorProperties" else None
    dtype: Any = state[0] if isinstance(state, tuple) and state else None  # pyright: ignore[reportUnknownVariableType]
    named = isinstance(dtype, type) and issubclass(dtype, inert.Named)  # pyright: ignore[reportUnknownArgumentType]
    name = str(dtype.name) if named else ""  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    if not name.startswith("torch."):
        raise ValueError("the type of a tensor isn't one of torch's")
    return name.removeprefix("torch.")


def _path(value: Any) -> tuple[str, ...]:
    parts: list[Any] = list(value) if type(value) is tuple else [None]  # pyright: ignore[reportUnknownArgumentType]
    if any(type(part) not in (str, int) for part in parts):
        raise ValueError("the path of a value isn't one of names and numbers")
    path = tuple(map(str, parts))
    _text(".".join(path))
    return path
