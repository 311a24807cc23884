"""What goes wrong, as one sentence for the person who can mend it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class AccelError(Exception):
    """A failure that the command line shows as one message, without a traceback.

    ``status`` is the exit status that goes with it: 2 for a mistake in what the user gave, 1 for our own failure.
    """

    status = 2

    def __init__(self, message: str, *, status: int | None = None) -> None:
        """Keep ``message``; ``status`` replaces the class's own."""
        super().__init__(message)
        if status is not None:
            self.status = status


class SettingError(AccelError):
    """A setting has a value it can't have, or a name that no setting has."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known name closest to ``name`` in any case, or nothing."""
    import difflib  # costs a third of a bare start, and only a mistake needs it

    lowered = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return f"; did you mean {lowered[close[0]]!r}?" if close else ""
