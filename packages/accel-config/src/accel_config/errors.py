"""Failures with one message for the user, and the exit statuses of all commands."""

from __future__ import annotations

from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

FAILED = 1
"""A failure that isn't a mistake of the user; also: a check found problems."""
USAGE = 2
"""A mistake in the user's input."""
LATER = 75
"""EX_TEMPFAIL of <sysexits.h>: a script that has saved its work asks to be started again later, mostly elsewhere."""
TIMED_OUT = 124
"""A run was ended because it stood still or took too long, as by ``timeout``."""
INTERRUPTED = 130
"""128 + SIGINT."""
READER_GONE = 141
"""128 + SIGPIPE: the reader of standard output closed it, as in ``accelerate env | head -1``."""


class AccelError(Exception):
    """A failure that a command shows as one message, without a traceback.

    ``status`` is the command's exit status: `USAGE` for a mistake in the user's input, `FAILED` for other failures.
    """

    status = USAGE

    def __init__(self, *lines: str, status: int | None = None) -> None:
        """Keep the message, which usually has one line; ``status`` replaces that of the class.

        Line ends within a line come from a value or a name, so they are shown as escapes.
        """
        super().__init__("\n".join(map(one_line, lines)))
        if status is not None:
            self.status = status


class SettingError(AccelError):
    """A setting has an invalid value, or doesn't exist."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``. Did you mean 'x'?`` for the known name closest to ``name`` in any letter case, or an empty text."""
    import difflib  # costs a third of a bare start, and only a mistake needs it

    lowered = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return f". Did you mean {lowered[close[0]]!r}?" if close else ""
