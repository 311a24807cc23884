"""One request, by the client that huggingface_hub brings: requests before its version 1, httpx or httpx2 since."""

from __future__ import annotations

import importlib
from contextlib import contextmanager

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from typing import Any

_CHUNK = 2**16


class Reply(Record):
    """An answer whose body is still to be read."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


class Transport:
    """The client of huggingface_hub, with every setting of that library."""

    def __init__(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for a connection, and for any part of an answer."""
        from huggingface_hub.utils import get_session

        self._timeout, self._session = timeout, get_session
        base = type(get_session()).__mro__[-2]  # a user's own session is a subclass
        self._library: Any = importlib.import_module(base.__module__.partition(".")[0])
        self._is_requests = hasattr(self._library, "RequestException")

    @property
    def error(self) -> type[Exception]:
        """What a request raises if there is no answer."""
        return self._library.RequestException if self._is_requests else self._library.RequestError

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Generator[Reply]:
        """Request `url`, following redirects.

        Raises:
            Exception: `error`.

        """
        session: Any = self._session()  # before version 1 there is one for each thread
        if self._is_requests:
            with session.get(url, headers=headers, timeout=self._timeout, stream=True) as response:
                yield Reply(response.status_code, response.headers, response.iter_content(_CHUNK))
        else:
            with session.stream(
                "GET", url, headers=headers, timeout=self._timeout, follow_redirects=True
            ) as response:
                yield Reply(response.status_code, response.headers, response.iter_raw())
