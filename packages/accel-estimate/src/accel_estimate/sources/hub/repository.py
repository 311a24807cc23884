"""A repository on the Hub at one revision, and its files."""

from __future__ import annotations

import json

from accel_estimate.errors import HubError
from accel_estimate.sources import local
from accel_estimate.sources.hub.client import Answer, Client
from accel_estimate.sources.hub.workers import work_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from accel_estimate.sources.hub.workers import Progress

FIRST_READ = 100_001  # bytes; the same as huggingface_hub's first read: nearly every header is shorter
_FIRST_READ_GGUF = 2**20


class RemoteFile:
    """A file on the Hub. Its first bytes are read once and kept; the size comes with them."""

    def __init__(self, client: Client, name: str, first: int) -> None:
        """Take the file `name`. The first request comes later, for `first` bytes or more."""
        self.name = f"{client.target.repository}/{name}"
        self._client, self._url, self._first = client, client.file(name), first
        self._front: Answer | None = None

    @property
    def size(self) -> int:
        """The size of the whole file in bytes."""
        return self._read_front(0).size

    def _read_front(self, stop: int) -> Answer:
        if self._front is None:
            self._front = self._client.get(self._url, 0, max(stop, self._first))
        return self._front

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop`; request only those that haven't been read yet.

        Raises:
            EstimateError: see `Client.get`.

        """
        front = self._read_front(stop)
        if stop > len(front.body) and len(front.body) < front.size:
            more = self._client.get(self._url, len(front.body), min(stop, front.size))
            front = self._front = Answer(front.body + more.body, front.size)
        return front.body[start:stop]


class HubRepository:
    """A repository on the Hub at one revision."""

    def __init__(self, client: Client, progress: Progress | None = None) -> None:
        """List the repository's files, their sizes and its library, in one request.

        Raises:
            EstimateError: the repository doesn't exist, isn't accessible, or the Hub doesn't answer.

        """
        self.name = client.target.repository
        self._client, self._progress = client, progress
        url = client.listing()
        (answer,) = work_on((url,), client.get, check=client.check)
        listing = _json(answer.body, url)
        library = listing.get("library_name")
        self.library: str | None = library if isinstance(library, str) else None
        self.files: Mapping[str, int] = dict(_siblings(listing.get("siblings")))

    def open(self, name: str) -> RemoteFile:
        """Return one file, opened for reading by position."""
        return RemoteFile(self._client, name, _FIRST_READ_GGUF if name.endswith(".gguf") else FIRST_READ)

    def map(self, work: Callable[[str], Any], names: Sequence[str]) -> list[Any]:
        """Return the results of `work` for all names, done at once; see `work_on`."""
        return work_on(names, work, self._progress, self._client.check)


def find(name: str, revision: str = "main", progress: Progress | None = None) -> HubRepository | local.LocalFolder:
    """Return a repository on the Hub, or its snapshot in the Hub's cache if `HF_HUB_OFFLINE=1` is set.

    Raises:
        HubError: the machine is offline, and the repository isn't in the cache.
        EstimateError: see `Client` and `HubRepository`.

    """
    client = Client(name, revision)
    if not client.offline:
        return HubRepository(client, progress)
    snapshot = local.cached(client.cache, name, revision)
    if snapshot is None:
        raise HubError(
            f"HF_HUB_OFFLINE is set, and {name} ({revision}) isn't in the cache at {client.cache}; "
            "unset it, or fetch the model first"
        )
    return snapshot


def _json(body: bytes, url: str) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise HubError(f"{url} didn't answer with JSON; is HF_ENDPOINT a Hub?")
    return value  # pyright: ignore[reportUnknownVariableType]


def _siblings(siblings: Any) -> list[tuple[str, int]]:
    """Return the names and sizes of a listing, without malformed entries."""
    found: list[tuple[str, int]] = []
    for entry in siblings if isinstance(siblings, list) else []:  # pyright: ignore[reportUnknownVariableType]
        if isinstance(entry, dict):
            name, size = entry.get("rfilename"), entry.get("size")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            if isinstance(name, str):
                found.append((name, size if isinstance(size, int) else 0))
    return found
