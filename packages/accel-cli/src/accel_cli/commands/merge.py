"""`merge-weights`: merges a sharded checkpoint into one file, one tensor at a time."""

from __future__ import annotations

from contextlib import contextmanager

from accel_config import front
from accel_config.errors import INTERRUPTED, AccelError
from accel_config.showing.console import show
from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Generator, Sequence

SAFE, UNSAFE = "model.safetensors", "pytorch_model.bin"


def main(argv: Sequence[str] | None = None, program: str = "accelerate-merge-weights") -> int:
    """Merge the checkpoint that the arguments name; return the exit status."""
    return front.run(lambda words: _merge_weights(words, program), argv, program)


def _merge_weights(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    try:
        with _signals_raise():
            lines = _merge(arguments)
    except KeyboardInterrupt:
        return front.fail(program, "interrupted", INTERRUPTED)
    except _Terminated as signal:
        return front.fail(program, f"terminated by {signal}", signal.status)
    for line in lines:
        show(f"{one_line(line)}\n")
    return 0


class _Terminated(BaseException):
    """A signal ends the command; what it has begun is removed on the way."""

    def __init__(self, number: int) -> None:
        from signal import Signals

        super().__init__(Signals(number).name)
        self.status = 128 + number


@contextmanager
def _signals_raise() -> Generator[None]:
    """Raise an exception on SIGTERM and SIGHUP, as on Ctrl-C: a part of a checkpoint left behind may fill a disk."""
    import signal
    import threading

    def terminate(number: int, _frame: object) -> None:
        raise _Terminated(number)

    if threading.current_thread() is not threading.main_thread():  # Python sets signal handlers in no other thread
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    found = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if found[number] is signal.SIG_DFL:  # under nohup, SIGHUP stays ignored
            signal.signal(number, terminate)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, found[number])


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(program, "Merge a sharded checkpoint of FSDP into one file.")
    found.add_argument("checkpoint_directory", help="The folder of the shards and .metadata.")
    found.add_argument("output_path", help=f"The folder for {SAFE}; it is created if it doesn't exist.")
    found.flag("--unsafe_serialization", action="store_true", help=f"Write {UNSAFE} (pickle) instead.")
    found.flag(
        "--remove_checkpoint_dir",
        action="store_true",
        help="Then remove the checkpoint's own files, and its folder if it is empty.",
    )
    return found


def _merge(arguments: Namespace) -> list[str]:
    """Merge; return the lines to print."""
    from pathlib import Path

    from accel_cli.merging import output
    from accel_cli.merging.shards import Checkpoint
    from accel_config.showing.wording import line

    safe = not arguments.unsafe_serialization
    checkpoint = Checkpoint(Path(arguments.checkpoint_directory).expanduser(), safe=safe)
    entries = output.entries(checkpoint, safe=safe)
    path = Path(arguments.output_path).expanduser() / (SAFE if safe else UNSAFE)
    if path.resolve() in {(checkpoint.folder / name).resolve() for name in checkpoint.files}:
        raise AccelError(f"{path} is a file of the checkpoint itself; give another output folder")
    total = sum(entry.size for entry in entries)
    with _progress(total) as advance:
        output.write(checkpoint, entries, path, advance, safe=safe)
    lines = [f"{path}: {len(entries)} {'tensor' if len(entries) == 1 else 'tensors'}, {output.in_units(total)}"]
    if safe and checkpoint.others:
        others = ", ".join(map(line, checkpoint.others.values()))
        lines.append(f"note: omitted, because they aren't tensors: {others}")
    if arguments.remove_checkpoint_dir:
        left = [line(name) for name in checkpoint.remove()]
        lines.append(f"{checkpoint.folder}: removed {'the shards' if left else ''}".rstrip())
        lines += [f"note: {checkpoint.folder} still has files of others: {', '.join(left)}"] if left else []
    return lines


@contextmanager
def _progress(total: int) -> Generator[Callable[[int], None]]:
    """Show a bar on a terminal if rich is installed; yield a function that advances it by a number of bytes."""
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
