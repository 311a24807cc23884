"""The merged file: its tensors are written one by one, and it appears when it is complete."""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile

from accel_cli.merging import safetensors
from accel_config.errors import FAILED, AccelError
from accel_config.showing.wording import line
from accel_config.writing import storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path
    from typing import IO

    from accel_cli.merging.shards import Checkpoint, Entry


def entries(checkpoint: Checkpoint, *, safe: bool) -> list[Entry]:
    """Return the tensors to merge, in the order of the file.

    Raises:
        AccelError: there are no tensors, or one that the format can't hold.
    """
    found = safetensors.ordered(checkpoint.tensors)
    if not found:
        raise AccelError(f"{checkpoint.folder} has no tensors")
    checkpoint.check()
    unknown = [entry for entry in found if safe and str(entry.dtype).removeprefix("torch.") not in safetensors.DTYPES]
    if unknown:
        raise AccelError(
            f"{line(unknown[0].name)} is of {unknown[0].dtype}, which safetensors can't hold; "
            "give --unsafe_serialization"
        )
    if safe and any(entry.name == safetensors.METADATA for entry in found):
        raise AccelError(f"a tensor is called {safetensors.METADATA}, which safetensors keeps for itself")
    return found


def write(
    checkpoint: Checkpoint, tensors: Sequence[Entry], path: Path, advance: Callable[[int], None], *, safe: bool
) -> None:
    """Write ``tensors`` to ``path``; call ``advance`` with the bytes of each. A failure leaves everything as it was.

    Raises:
        AccelError: a tensor can't be read, the disk has too little space, or the file can't be written.
    """
    total = sum(entry.size for entry in tensors)
    with _folder(path.parent), storage.replacing(str(path)) as file:
        # A pickle is written from the values in a first file, so both are on the disk for a while.
        _check_space(path, total if safe else 2 * total)
        if safe:
            file.write(safetensors.header(tensors))
            _stream(checkpoint, tensors, file, advance)
        else:
            with TemporaryFile(dir=path.parent) as values:
                _stream(checkpoint, tensors, values, advance)
                _pickle(checkpoint, tensors, values, file)


def _stream(
    checkpoint: Checkpoint, tensors: Sequence[Entry], file: IO[bytes], advance: Callable[[int], None]
) -> None:
    """Write the values of the tensors one after the other."""
    for entry in tensors:
        safetensors.write(file, checkpoint.read(entry))
        advance(entry.size)
    file.flush()


def _pickle(checkpoint: Checkpoint, tensors: Sequence[Entry], values: IO[bytes], file: IO[bytes]) -> None:
    """Write the tensors in ``values`` as a file of `torch.save`, which reads them from there as it writes."""
    import torch

    state = safetensors.mapped(values, tensors)
    state.update({name: checkpoint.read_other(key) for key, name in checkpoint.others.items()})
    torch.save(state, file)


def _check_space(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise AccelError(f"{path} needs {in_units(size)}, but the disk has only {in_units(free)} free", status=FAILED)


@contextmanager
def _folder(folder: Path) -> Generator[None]:
    """Create ``folder`` with its parents; if the body fails, remove those that were created and are empty.

    Raises:
        AccelError: the folder can't be created.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AccelError(f"{folder} can't be created: {error.strerror}", status=FAILED) from None
        yield
    except BaseException:
        with suppress(OSError):
            for path in new:
                path.rmdir()
        raise


def in_units(size: float) -> str:
    """Return a number of bytes in a suitable unit."""
    units = ("bytes", "kB", "MB", "GB", "TB")
    place = 0
    while size >= 999.5 and place < len(units) - 1:  # noqa: PLR2004  would be shown as 1000
        size, place = size / 1000, place + 1
    return f"{size:.3g} {units[place]}"
