"""A checkpoint of `torch.distributed.checkpoint`: its contents, and its tensors one at a time."""

# torch's own types are incomplete.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
from math import prod

from accel_cli.merging import archive, inert
from accel_cli.merging import metadata as pickled
from accel_cli.merging.folder import Folder
from accel_config.errors import FAILED, AccelError
from accel_config.record import Record
from accel_config.showing.wording import line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path
    from typing import Any

METADATA, SHARD = ".metadata", ".distcp"
_LONGEST = 300  # characters of a fault that are shown


class Entry(Record):
    """A tensor of the checkpoint."""

    key: str
    """Its name in the checkpoint."""
    name: str
    """Its name in the merged file."""
    dtype: Any
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The bytes of its values."""
        count = 1
        for length in self.shape:
            count *= length
        return count * self.dtype.itemsize


class Checkpoint:
    """A folder with shards and their metadata."""

    def __init__(self, folder: Path, *, safe: bool) -> None:
        """Read the metadata of the checkpoint in ``folder``, and no tensor; ``safe`` leaves all but tensors out.

        Raises:
            AccelError: there is no checkpoint, torch isn't installed, or the metadata can't be read.
        """
        self.folder = folder
        _require(folder)
        _require_torch()
        self._files = Folder(folder)
        try:
            with self._files.open(METADATA) as file:
                size = os.fstat(file.fileno()).st_size  # as reading allocates what is asked for, not what is there
                metadata = pickled.read(file.read(min(size, inert.LONGEST) + 1))
            names = _names(metadata.paths, (*metadata.tensors, *(() if safe else metadata.others)))
        except Exception as error:  # a file that isn't a pickle may raise anything
            raise AccelError(f"{folder}: {METADATA} can't be read: {_why(error)}", status=FAILED) from None
        self.files = [*sorted({place.file for place in metadata.places}), METADATA]
        """The names of the checkpoint's own files."""
        self.others = {key: names[key] for key in metadata.others}
        """The values that aren't tensors: the key and the name of each."""
        self._metadata, self._names = metadata, names

    @property
    def tensors(self) -> list[Entry]:
        """Its tensors.

        Raises:
            AccelError: this torch doesn't have the type of one.
        """
        import torch

        found: list[Entry] = []
        for key, tensor in self._metadata.tensors.items():
            dtype = getattr(torch, tensor.dtype, None)
            if not isinstance(dtype, torch.dtype):
                raise AccelError(
                    f"{line(key)} is of {line(tensor.dtype)}, which torch {torch.__version__} doesn't have"
                )
            found.append(Entry(key, self._names[key], dtype, tensor.shape))
        return found

    def check(self) -> None:
        """Check that the shards are there and as long as the metadata says, before anything is written.

        Raises:
            AccelError: they aren't.
        """
        try:
            self._files.check(self._metadata.places)
            for entry in self.tensors:
                for piece in self._metadata.tensors[entry.key].pieces:
                    if prod(piece.shape) * entry.dtype.itemsize > piece.place.length:
                        raise ValueError(f"{entry.key[:100]} is larger than what is stored of it")
        except (ValueError, OSError) as error:
            raise AccelError(f"{self.folder} can't be read: {_why(error)}", status=FAILED) from None

    def read(self, entry: Entry) -> Any:
        """Return one whole tensor.

        Raises:
            AccelError: its shards can't be read.
        """
        import torch

        try:
            tensor = torch.zeros(entry.shape, dtype=entry.dtype)
            for piece in self._metadata.tensors[entry.key].pieces:
                if 0 in piece.shape:
                    continue
                with self._files.open(piece.place.file) as file:
                    part = archive.read(file, piece.place, str(entry.dtype).removeprefix("torch."), piece.shape)
                region = tuple(slice(at, at + size) for at, size in zip(piece.offsets, piece.shape, strict=True))
                tensor[region].copy_(part)
        except Exception as error:
            if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
                why = f"not enough memory for {line(entry.name)} ({entry.size} bytes)"
            else:
                why = f"{self.folder}: {line(entry.key)} can't be read: {_why(error)}"
            raise AccelError(why, status=FAILED) from None
        return tensor

    def read_other(self, key: str) -> object:
        """Return a value that isn't a tensor. It is a pickle, which can run code.

        Raises:
            AccelError: its shard can't be read.
        """
        import io

        import torch

        place = self._metadata.others[key]
        try:
            with self._files.open(place.file) as file:
                file.seek(place.start)
                return torch.load(io.BytesIO(file.read(place.length)), map_location="cpu", weights_only=False)
        except Exception as error:
            raise AccelError(f"{self.folder}: {line(key)} can't be read: {_why(error)}", status=FAILED) from None

    def remove(self) -> list[str]:
        """Remove the checkpoint's own files, then its folder if it is empty; return the names that are left.

        The metadata could name any file of the folder as a shard, so what doesn't end like one stays.

        Raises:
            AccelError: a file can't be removed.
        """
        try:
            for name in [name for name in self.files if name.endswith((SHARD, METADATA))]:
                (self.folder / name).unlink()
            left = sorted(path.name for path in self.folder.iterdir())
            if not left:
                self.folder.rmdir()
        except OSError as error:
            raise AccelError(f"{error.filename} can't be removed: {error.strerror}", status=FAILED) from None
        return left


def _names(paths: Mapping[str, tuple[str, ...]], written: Collection[str]) -> dict[str, str]:
    """Return each key's name in the merged file, without the name of a mapping (such as `model`) that has all.

    Raises:
        ValueError: two have the same.
    """
    kept = [paths[key] for key in written]
    tops = {path[0] for path in kept if path}
    top = tops.pop() if len(tops) == 1 and all(len(path) > 1 for path in kept) else None
    names = {key: ".".join(path[1:] if path[1:] and path[0] == top else path) for key, path in paths.items()}
    seen: set[str] = set()
    for key in written:
        if names[key] in seen:
            raise ValueError(f"it has two values of the name {names[key][:100]}")
        seen.add(names[key])
    return names


def _why(error: Exception) -> str:
    """Return what went wrong, on one line; a stranger's file may have chosen the words."""
    why = (error.strerror if isinstance(error, OSError) else "") or str(error).strip() or type(error).__name__
    return line(why.splitlines()[-1][:_LONGEST])


def _require(folder: Path) -> None:
    if not folder.is_dir():
        raise AccelError(f"the checkpoint {folder} {'is not a folder' if folder.exists() else 'does not exist'}")
    if (folder / METADATA).is_file():
        return
    below = sorted(str(path.parent) for path in folder.glob(f"*/{METADATA}"))
    hint = f". Did you mean {' or '.join(below)}?" if below else ""
    raise AccelError(f"{folder} isn't a checkpoint of torch.distributed: it has no {METADATA}{hint}")


def _require_torch() -> None:
    try:
        import torch  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        from accel_config.showing.installing import command

        way = f"run: {command('torch')}"
        raise AccelError(f"merging needs torch, which can't be imported ({error}); {way}") from None
