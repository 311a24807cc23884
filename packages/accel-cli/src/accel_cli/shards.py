"""A checkpoint of `torch.distributed.checkpoint`: what it holds, and one tensor of it at a time."""

# torch's own types are incomplete, and it doesn't say that these names are public, though its manual does.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from accel_config.errors import AccelError
from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

METADATA = ".metadata"
FAILED = 1


class Entry(Record):
    """A tensor of the checkpoint."""

    key: str
    """What the checkpoint calls it."""
    name: str
    """What the merged file calls it."""
    dtype: Any
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of its values."""
        count = 1
        for length in self.shape:
            count *= length
        return count * self.dtype.itemsize


class Checkpoint:
    """A folder with shards and the metadata that tells them apart."""

    def __init__(self, folder: Path) -> None:
        """Read the metadata of the checkpoint in ``folder``; no tensor is read.

        Raises:
            AccelError: there is none, torch isn't installed, or the metadata can't be read.
        """
        self.folder = folder
        _require(folder)
        try:
            from torch.distributed.checkpoint import FileSystemReader
        except ImportError as error:
            raise AccelError(f"merging needs torch, which can't be imported ({error}): pip install torch") from None
        from . import metadata as pickled

        self._reader: Any = FileSystemReader(folder)
        try:
            metadata = pickled.read(folder / METADATA)
        except Exception as error:  # a file that is no pickle may raise anything
            raise AccelError(f"{folder}: {METADATA} can't be read: {error}", status=FAILED) from None
        self.files = [*sorted(pickled.shards(metadata)), METADATA]
        """The names of the files that are the checkpoint's own."""
        # Each tensor is loaded by itself, and torch would read all the metadata again each time.
        self._reader.read_metadata = lambda *_values, **_named: metadata  # pyright: ignore[reportUnknownLambdaType]
        self._metadata: Any = metadata

    @property
    def tensors(self) -> list[Entry]:
        """Its tensors."""
        names = _names(self._paths())
        return [
            Entry(key, names[key], told.properties.dtype, tuple(told.size))
            for key, told in self._metadata.state_dict_metadata.items()
            if hasattr(told, "size")
        ]

    @property
    def others(self) -> dict[str, str]:
        """What isn't a tensor: the key and the name of each."""
        names = _names(self._paths())
        kept = self._metadata.state_dict_metadata.items()
        return {key: names[key] for key, told in kept if not hasattr(told, "size")}

    def _paths(self) -> dict[str, tuple[str, ...]]:
        """Return for each key the way to it through the nested state that was saved."""
        planned: dict[str, Any] = self._metadata.planner_data or {}
        return {key: tuple(map(str, planned.get(key, (key,)))) for key in self._metadata.state_dict_metadata}

    def read(self, entry: Entry) -> Any:
        """Return one tensor, whole.

        Raises:
            AccelError: its shards can't be read.
        """
        import gc

        import torch

        gc.collect(1)  # torch's loading leaves cycles, which would keep some of the tensors before this one
        try:
            tensor = torch.empty(entry.shape, dtype=entry.dtype)
        except RuntimeError:
            raise AccelError(f"there is no memory for {entry.name} ({entry.size} bytes)", status=FAILED) from None
        self._load({entry.key: tensor})
        return tensor

    def read_other(self, key: str) -> object:
        """Return a value that isn't a tensor.

        Raises:
            AccelError: its shard can't be read.
        """
        state: dict[str, object] = {key: None}
        self._load(state)
        return state[key]

    def _load(self, state: dict[str, Any]) -> None:
        import warnings

        from torch.distributed import checkpoint
        from torch.distributed.checkpoint.api import CheckpointException  # not an Exception

        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as is meant here
                checkpoint.load(state, storage_reader=self._reader, no_dist=True)
        except (Exception, CheckpointException) as error:
            for cause, _trace in getattr(error, "failures", {}).values():
                if not isinstance(cause, Exception):  # torch takes an interruption for a failure of the loading
                    raise cause from None
            why = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise AccelError(f"{self.folder}: {', '.join(state)} can't be read: {why}", status=FAILED) from None

    def remove(self) -> list[str]:
        """Remove the checkpoint's own files, then its folder if nothing else is in it; return what is left there.

        Raises:
            AccelError: a file can't be removed.
        """
        try:
            for name in self.files:
                (self.folder / name).unlink()
            left = sorted(path.name for path in self.folder.iterdir())
            if not left:
                self.folder.rmdir()
        except OSError as error:
            raise AccelError(f"{error.filename} can't be removed: {error.strerror}", status=FAILED) from None
        return left


def _names(paths: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Return each key's name in the merged file: if all is in one mapping, `model` say, that isn't part of it."""
    tops = {path[0] for path in paths.values()}
    nested = len(tops) == 1 and all(len(path) > 1 for path in paths.values())
    return {key: ".".join(path[1:] if nested else path) for key, path in paths.items()}


def _require(folder: Path) -> None:
    if not folder.is_dir():
        raise AccelError(f"the checkpoint {folder} {'is no folder' if folder.exists() else 'does not exist'}")
    if (folder / METADATA).is_file():
        return
    below = sorted(str(path.parent) for path in folder.glob(f"*/{METADATA}"))
    hint = f"; did you mean {' or '.join(below)}?" if below else ""
    raise AccelError(f"{folder} is no checkpoint of torch.distributed: it has no {METADATA}{hint}")
