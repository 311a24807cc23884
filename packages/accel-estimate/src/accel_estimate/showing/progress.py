"""A progress bar on standard error while the headers of several files are read."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Progress:
    """A bar that appears with the first of several headers, if standard error is a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Callable[[int, int], None]:
        """Return the function to call with (headers read, headers)."""
        return self._step

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def _step(self, finished: int, whole: int) -> None:
        if whole < 2 or not sys.stderr.isatty():  # noqa: PLR2004
            return
        if self._bar is None:
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("Reading headers", total=whole)
        self._bar.update(self._task, completed=finished)
