"""What a repository of files can do, on disk or on the Hub."""

from __future__ import annotations

from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from accel_estimate.sources.source import Source


class Repository(Protocol):
    """A folder of files, on disk or on the Hub."""

    @property
    def name(self) -> str:
        """The name that the user typed."""
        ...

    @property
    def files(self) -> Mapping[str, int]:
        """Every file's name and size in bytes."""
        ...

    @property
    def library(self) -> str | None:
        """The library that the model is made for, if the repository names one."""
        ...

    def open(self, name: str) -> Source:
        """Return one file, opened for reading by position."""
        ...

    def map(self, work: Callable[[str], Any], names: Sequence[str]) -> list[Any]:
        """Return the results of `work` for the names, in their order, in whatever way is fastest."""
        ...
