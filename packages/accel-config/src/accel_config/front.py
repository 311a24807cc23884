"""The front of every command: what all of them do with errors, interrupts and standard streams.

A command is a function from its words to an exit status. It raises `AccelError` for what the user can fix; `run`
prints the message and returns the status. What a command prints, it prints with `accel_config.showing.console.show`.
"""

from __future__ import annotations

import gc
import os
import sys

from accel_config.errors import FAILED, INTERRUPTED, READER_GONE, USAGE, AccelError
from accel_config.showing.printable import one_line, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

NEW = 50_000  # objects between two looks for garbage: what a start makes stays, and looking takes a tenth of it


def run(command: Callable[[list[str]], int], argv: Sequence[str] | None, program: str) -> int:
    """Run ``command`` with the words of ``argv`` (default: the process's own) and return its exit status.

    ``program`` is what messages call it, such as ``accelerate launch``.
    """
    gc.set_threshold(NEW, *gc.get_threshold()[1:])
    try:
        status = command(list(sys.argv[1:] if argv is None else argv))
        if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison] - closed by ``>&-``
            sys.stdout.flush()
        return status
    except SystemExit as ended:  # argparse has printed the help, or what is wrong
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else FAILED
    except AccelError as error:
        return fail(program, str(error), error.status)
    except ModuleNotFoundError as error:
        from accel_config.showing.installing import remedy

        message = remedy(error)
        if not message:
            raise
        return fail(program, message)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        discard(1, 2)
        return READER_GONE
    except OSError as error:
        if error.filename is not None:  # not a standard stream
            return fail(program, f"{_name(error.filename)}: {error.strerror}", FAILED)
        discard(1)
        return fail(program, f"the output can't be written: {error.strerror}", FAILED)


def _name(file: object) -> str:
    return os.fsdecode(file) if isinstance(file, (str, bytes)) else str(file)


def fail(program: str, message: str, status: int = USAGE) -> int:
    """Print ``message`` to standard error, each line after the program's name; return the command's exit status."""
    try:
        if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]
            sys.stderr.write(_lines(program, message.split("\n")))
            sys.stderr.flush()
    except OSError as error:
        discard(2)
        return READER_GONE if isinstance(error, BrokenPipeError) else status
    return status


def tell(speaker: str, lines: Iterable[str]) -> None:
    """Say lines, each after ``speaker``, without secrets.

    Line ends within one are shown as escapes, so that nothing speaks as us.
    """
    say(_lines(speaker, lines))


def _lines(speaker: str, lines: Iterable[str]) -> str:
    from accel_config.showing.masking import sentence

    return "".join(f"{speaker}: {one_line(sentence(line))}\n" for line in lines)


def say(text: str, *, styled: bool = False) -> None:
    """Write to standard error, unless that is closed or its reader has gone.

    Whatever moves the cursor is shown as an escape. A ``styled`` text has escapes of our own, for colors; then its
    foreign parts must have gone through `accel_config.showing.printable`.
    """
    try:
        if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]
            sys.stderr.write(text if styled else printable(text))
            sys.stderr.flush()
    except OSError:
        pass


def has_color(environ: Mapping[str, str]) -> bool:
    """Return whether standard error is a terminal that shows colors, and the user wants them (https://no-color.org)."""
    if environ.get("NO_COLOR") or environ.get("TERM", "dumb") == "dumb":
        return False
    return sys.stderr is not None and sys.stderr.isatty()  # pyright: ignore[reportUnnecessaryComparison]


def secure_streams() -> None:
    """Open the standard streams that are closed, so that no other file gets their numbers. An exec closes them."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def discard(*streams: int) -> None:
    """Send what is still buffered for these streams nowhere: the interpreter writes it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream)
    os.close(nowhere)
