"""The metadata of a checkpoint: a pickle, perhaps a stranger's, so nothing but torch's own types is made of it."""

from __future__ import annotations

import pickle

import torch
from torch.distributed.checkpoint import metadata as torchs
from torch.distributed.checkpoint.filesystem import _StorageInfo  # pyright: ignore[reportPrivateUsage]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


def read(path: Path) -> torchs.Metadata:
    """Return what the file says.

    Raises:
        ValueError: it says something else than metadata, or names files outside of its folder.
        OSError, Exception: it can't be read, or is no pickle.
    """
    with path.open("rb") as file:
        found: object = _Reader(file).load()
    if not isinstance(found, torchs.Metadata):
        raise ValueError(f"it holds a {type(found).__name__}")
    for shard in shards(found):
        if shard in ("", ".", "..") or "/" in shard:
            raise ValueError(f"it names {shard!r}, which is no file beside it")
    return found


def shards(metadata: torchs.Metadata) -> set[str]:
    """Return the names of the files that hold the values."""
    told: dict[Any, Any] = metadata.storage_data or {}
    return {str(info.relative_path) for info in told.values()}


class _Reader(pickle.Unpickler):
    """Makes values of torch's own types, and calls nothing else that a stranger's file names."""

    def find_class(self, module: str, name: str, /) -> Any:
        """Give what a name in the pickle stands for.

        Raises:
            ValueError: it isn't one that metadata needs.
        """
        if "." not in name:
            if module == torchs.__name__ and getattr(getattr(torchs, name, None), "__module__", "") == module:
                return getattr(torchs, name)
            if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
                return getattr(torch, name)
            if (module.partition(".")[0], name) in _PLAIN or (module, name) in _OWN:
                return super().find_class(module, name)
        raise ValueError(f"it asks for {module}.{name}, which no metadata needs")


_OWN = {
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    (_StorageInfo.__module__, _StorageInfo.__name__),
    ("collections", "OrderedDict"),
    ("torch.distributed._shard.sharded_tensor.metadata", "TensorProperties"),  # of torch before 2.3
    ("torch.distributed._shard.sharded_tensor.metadata", "MEM_FORMAT_ENCODING"),
}
_PLAIN = {("pathlib", "PosixPath"), ("pathlib", "PurePosixPath"), ("pathlib", "Path")}
"""Python 3.13 keeps these in a module below `pathlib`."""
