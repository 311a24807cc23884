"""Standard output, which may be closed, full, narrower than Unicode, or a pipe that nobody reads any more."""

from __future__ import annotations

import os
import sys

from .errors import AccelError

FAILED = 1
READER_GONE = 141  # 128 + SIGPIPE, as of a program that the signal ends


def show(text: str) -> None:
    """Write ``text`` to standard output at once, if that is open.

    Raises:
        AccelError: it can't be written; without a message where its reader went away, who meant to.
    """
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
        return
    try:
        sys.stdout.write(_fit(text))
        sys.stdout.flush()
    except BrokenPipeError:
        _mute()
        raise AccelError("", status=READER_GONE) from None
    except OSError as error:
        _mute()
        raise AccelError(f"the output can't be written: {error.strerror}", status=FAILED) from None


def _fit(text: str) -> str:
    """Return ``text`` with escapes for what the terminal's encoding doesn't have."""
    encoding = sys.stdout.encoding or "utf-8"
    return text if text.isascii() else text.encode(encoding, "backslashreplace").decode(encoding)


def _mute() -> None:
    """Let what is still buffered go nowhere, so that the interpreter's end doesn't complain again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
