"""`merge-weights`: turns a sharded checkpoint into one file, one tensor at a time."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress

from accel_config.errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path
    from typing import IO

    from ..shards import Checkpoint, Entry

USAGE = 2
FAILED = 1
INTERRUPTED = 130
SAFE, UNSAFE = "model.safetensors", "pytorch_model.bin"


def main(argv: Sequence[str] | None = None, program: str = "accelerate-merge-weights") -> int:
    """Merge the checkpoint that the arguments name; return the exit status."""
    try:
        arguments = _parser(program).parse_args(sys.argv[1:] if argv is None else list(argv))
    except SystemExit as stop:  # argparse has said why, or printed the help
        return USAGE if stop.code is None else int(stop.code)
    try:
        with _tidy_end():
            said = _merge(arguments)
        for line in said:
            print(line)
    except AccelError as error:
        for line in str(error).splitlines():
            print(f"{program}: {line}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except _Ended as signal:
        print(f"{program}: ended by {signal}", file=sys.stderr)
        return signal.status
    return 0


class _Ended(BaseException):
    """A signal asks us to end; what was begun is taken back on the way."""

    def __init__(self, number: int) -> None:
        from signal import Signals

        super().__init__(Signals(number).name)
        self.status = 128 + number


@contextmanager
def _tidy_end() -> Generator[None]:
    """Take back what was begun when we are to end, as on Ctrl-C: a part of a checkpoint may fill a disk."""
    import signal
    import threading

    def end(number: int, _frame: object) -> None:
        raise _Ended(number)

    if threading.current_thread() is not threading.main_thread():  # Python lets no other thread set handlers
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGHUP)
    found = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if found[number] is signal.SIG_DFL:  # nohup's stays ignored
            signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, found[number])


def _parser(program: str) -> ArgumentParser:
    from argparse import ArgumentParser

    parser = ArgumentParser(program, description="Merge a sharded checkpoint of FSDP into one file.")
    parser.add_argument("checkpoint_directory", help="the folder with the shards and .metadata")
    parser.add_argument("output_path", help=f"the folder to write {SAFE} into; it is made if it isn't there")
    parser.add_argument(
        "--unsafe_serialization",
        "--unsafe-serialization",
        action="store_true",
        help=f"write {UNSAFE} (pickle) instead",
    )
    parser.add_argument(
        "--remove_checkpoint_dir",
        "--remove-checkpoint-dir",
        action="store_true",
        help="then remove the checkpoint's own files, and its folder if nothing else is in it",
    )
    return parser


def _merge(arguments: Namespace) -> list[str]:
    """Merge; return what is to be said about it."""
    from pathlib import Path

    from ..shards import Checkpoint

    checkpoint = Checkpoint(Path(arguments.checkpoint_directory).expanduser())
    safe = not arguments.unsafe_serialization
    entries = _entries(checkpoint, safe=safe)
    path = Path(arguments.output_path).expanduser() / (SAFE if safe else UNSAFE)
    if path.resolve() in {(checkpoint.folder / name).resolve() for name in checkpoint.files}:
        raise AccelError(f"{path} is a file of the checkpoint itself: give another output folder")
    total = sum(entry.size for entry in entries)
    with _made(path.parent), _replaced(path, total if safe else 2 * total) as part:
        with _progress(total) as advance:
            _stream(checkpoint, entries, part, advance, safe=safe)
        if not safe:
            _pickle(checkpoint, entries, part)
    said = [f"{path}: {len(entries)} {'tensor' if len(entries) == 1 else 'tensors'}, {_bytes(total)}"]
    if safe and checkpoint.others:
        said.append(f"note: left out, since they are no tensors: {', '.join(checkpoint.others.values())}")
    if arguments.remove_checkpoint_dir:
        left = checkpoint.remove()
        said.append(f"{checkpoint.folder}: {'its shards are removed' if left else 'removed'}")
        said += [f"note: what isn't the checkpoint's is left there: {', '.join(left)}"] if left else []
    return said


def _entries(checkpoint: Checkpoint, *, safe: bool) -> list[Entry]:
    """Return the tensors to merge, in the order of the file.

    Raises:
        AccelError: there is none, or one that can't be written.
    """
    from ..safetensors import DTYPES, ordered

    entries = ordered(checkpoint.tensors)
    if not entries:
        raise AccelError(f"{checkpoint.folder} holds no tensors")
    strange = [entry for entry in entries if safe and str(entry.dtype).removeprefix("torch.") not in DTYPES]
    if strange:
        raise AccelError(
            f"{strange[0].name} is of {strange[0].dtype}, which safetensors can't hold: give --unsafe_serialization"
        )
    return entries


def _stream(
    checkpoint: Checkpoint, entries: list[Entry], part: Path, advance: Callable[[int], None], *, safe: bool
) -> None:
    """Write the tensors one by one: after a header as safetensors, else one behind the other."""
    from .. import safetensors

    with part.open("wb") as file:
        if safe:
            file.write(safetensors.header(entries))
        for entry in entries:
            safetensors.write(file, checkpoint.read(entry))
            advance(entry.size)
        _to_disk(file)


def _pickle(checkpoint: Checkpoint, entries: list[Entry], part: Path) -> None:
    """Turn the values in ``part`` into a file of `torch.save`, which reads them from there as it writes."""
    import torch

    from .. import safetensors

    pickled = part.with_name(f"{part.name}.bin")
    try:
        with part.open("rb") as values, pickled.open("wb") as file:
            state = safetensors.mapped(values, entries)
            state.update({name: checkpoint.read_other(key) for key, name in checkpoint.others.items()})
            torch.save(state, file)
            _to_disk(file)
        pickled.replace(part)
    finally:
        pickled.unlink(missing_ok=True)


def _to_disk(file: IO[bytes]) -> None:
    import os

    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _made(folder: Path) -> Generator[None]:
    """Make ``folder`` with its parents; if what follows fails, remove those that were made and are empty."""
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AccelError(f"{folder} can't be made: {error.strerror}", status=FAILED) from None
        yield
    except BaseException:
        with suppress(OSError):
            for one in new:
                one.rmdir()
        raise


@contextmanager
def _replaced(path: Path, size: int) -> Generator[Path]:
    """Give a path to write to, which takes the place of ``path`` in the end; there is nothing of it if that fails.

    Raises:
        AccelError: it can't be written, or has no room.
    """
    import os
    import shutil

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        free = shutil.disk_usage(path.parent).free
        if free < size:
            raise AccelError(f"{path} needs {_bytes(size)}, and only {_bytes(free)} are free there", status=FAILED)
        yield part
        part.replace(path)
    except OSError as error:
        raise AccelError(f"{path} can't be written: {error.strerror}", status=FAILED) from None
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _progress(total: int) -> Generator[Callable[[int], None]]:
    """Show a bar on a terminal, where rich is installed; give a function to move it on by bytes."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
    except ImportError:
        yield lambda _bytes: None
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("merging", total=total)
        yield lambda size: bar.advance(task, size)


def _bytes(size: float) -> str:
    """Return a number of bytes in a unit that suits it."""
    units = ("bytes", "kB", "MB", "GB", "TB")
    place = 0
    while size >= 999.5 and place < len(units) - 1:  # noqa: PLR2004  what would be shown as 1000
        size, place = size / 1000, place + 1
    return f"{size:.3g} {units[place]}"
