"""Standard output, which may be closed, full, narrower than Unicode, or a pipe that nobody reads any more."""

from __future__ import annotations

import os
import sys

from .errors import AccelError

FAILED = 1
READER_GONE = 141  # 128 + SIGPIPE, as of a program that the signal ends


def show(text: str) -> None:
    """Write ``text`` to standard output at once, if that is open; bytes that are no text go out as they came in.

    Raises:
        AccelError: it can't be written; without a message where its reader went away, who meant to.
    """
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
        return
    if reconfigure := getattr(sys.stdout, "reconfigure", None):  # which a stream put in its place may lack
        reconfigure(errors="surrogateescape")
    try:
        sys.stdout.write(_fit(text))
        sys.stdout.flush()
    except OSError as error:
        raise failure(error) from None


def failure(error: OSError) -> AccelError:
    """Return what there is to be told of standard output's failure; no more of it is tried."""
    # What is still buffered goes nowhere, so that the interpreter's end doesn't complain again.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    if isinstance(error, BrokenPipeError):
        return AccelError("", status=READER_GONE)
    return AccelError(f"the output can't be written: {error.strerror}", status=FAILED)


def _fit(text: str) -> str:
    """Return ``text`` with escapes for what the terminal's encoding doesn't have."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text
