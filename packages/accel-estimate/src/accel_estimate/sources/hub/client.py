"""Requests to the Hub about one repository, with retries.

They use huggingface_hub's own client, address (`HF_ENDPOINT`), token and cache, so every setting of that library
applies. It is imported on first use because a local folder doesn't need it.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from http import HTTPStatus
from threading import get_ident
from urllib.parse import quote, urlsplit

from accel_config.record import Record
from accel_config.settings.readers import natural
from accel_estimate.errors import AccessError, CorruptFileError, HubError, UsageError
from accel_estimate.sources import local
from accel_estimate.sources.hub.refusals import Target, refusal
from accel_estimate.sources.hub.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from accel_estimate.sources.hub.transport import Reply

RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
RETRIES = (0.5, 1.0, 2.0)  # seconds before the second, third and fourth try
_MAX_WAIT = 20.0
_MAX_LISTING = 50_000_000
_DEADLINE = 60.0  # seconds for one whole answer, however slowly its bytes arrive


class Answer(Record):
    """One answer of the Hub: `size` is that of the whole file, from Content-Range or Content-Length."""

    body: bytes
    size: int


class Client:
    """A client of the Hub for one repository."""

    def __init__(self, repository: str, revision: str) -> None:
        """Import huggingface_hub and check the repository's name.

        Raises:
            UsageError: this isn't a valid name of a repository, or HF_ENDPOINT isn't a valid address.
            AccessError: the token has characters that can't be sent.

        """
        _check_address()
        from huggingface_hub import __version__, constants, get_token
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        try:
            validate_repo_id(repository)
        except HFValidationError:
            raise UsageError(
                f"{repository!r} is neither a file or folder on this machine nor a valid name of a repository "
                "on the Hub (OWNER/NAME)"
            ) from None
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        if token is not None and not (token.isascii() and token.isprintable()):
            raise AccessError(
                "your token for the Hub has invalid characters; log in with `hf auth login`, or correct HF_TOKEN"
            )
        self.target = Target(repository, revision, constants.ENDPOINT.rstrip("/"), token is not None)
        self.offline = bool(constants.HF_HUB_OFFLINE)
        self.cache = str(constants.HF_HUB_CACHE)
        # Not build_hf_headers(): it first requests a list of coding agents from the Hub, to name one.
        self._headers = {"User-Agent": f"accel-estimate; hf_hub/{__version__}"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._transport = Transport(float(constants.HF_HUB_DOWNLOAD_TIMEOUT))
        self._running: dict[int, tuple[float, str]] = {}

    def listing(self) -> str:
        """Return the address of the list of files."""
        target = self.target
        return (
            f"{target.endpoint}/api/models/{target.repository}/revision/{quote(target.revision, safe='')}?blobs=true"
        )

    def file(self, name: str) -> str:
        """Return the address of one file."""
        return f"{self.target.page}/resolve/{quote(self.target.revision, safe='')}/{quote(name)}"

    def get(self, url: str, start: int = 0, stop: int | None = None, limit: int = _MAX_LISTING) -> Answer:
        """Return the answer for `url`, or for its bytes `start` to `stop`; retry three times if the Hub fails.

        Raises:
            HubError: there is no usable answer after all tries.
            ModelNotFoundError, AccessError: the Hub refuses.
            CorruptFileError: a whole answer is longer than `limit` bytes.

        """
        fault = ""
        for wait in (*RETRIES, None):
            try:
                answer, fault, retry_after = self._try(url, start, stop, limit)
            except self._transport.error as error:
                answer, fault, retry_after = None, f"{type(error).__name__}: {error}".rstrip(": "), 0.0
            if answer is not None:
                return answer
            if wait is not None:
                time.sleep(min(max(wait, retry_after), _MAX_WAIT))
        raise HubError(
            f"the Hub at {self.target.endpoint} gave no usable answer in {len(RETRIES) + 1} tries ({fault}); "
            f"try later{self._hint()}"
        )

    def check(self) -> None:
        """Check the requests that other threads are waiting for.

        Raises:
            HubError: one has taken too long as a whole, however slowly its bytes arrive.

        """
        for began, url in list(self._running.values()):
            if time.monotonic() - began > _DEADLINE:
                raise self._too_slow(url)

    def _too_slow(self, url: str) -> HubError:
        return HubError(f"the Hub took more than {_DEADLINE:g} s for {url}; try later{self._hint()}")

    def _hint(self) -> str:
        if local.cached(self.cache, self.target.repository, self.target.revision) is None:
            return ", or name a local folder"
        return ", or set HF_HUB_OFFLINE=1 to use the copy in the cache"

    def _try(self, url: str, start: int, stop: int | None, limit: int) -> tuple[Answer | None, str, float]:
        """Return the answer to one request; or None, what is wrong, and the seconds to wait before the next try."""
        headers = self._headers | {"Accept-Encoding": "identity"}
        if stop is not None:
            headers["Range"] = f"bytes={start}-{stop - 1}"
        with self._timed(url), self._transport.get(url, headers) as response:
            status = response.status
            if status in RETRY_STATUS:
                return None, f"HTTP {status}", _retry_after(response.headers)
            if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # the file is empty, or ends before `start`
                return Answer(b"", _whole_size(response.headers, 0)), "", 0.0
            if status >= HTTPStatus.BAD_REQUEST:
                raise refusal(self.target, status, response.headers, url)
            skip = start if status == HTTPStatus.OK else 0  # 200: the server ignored the range; skip to its start
            body = self._body(response, skip + (limit if stop is None else stop - start), url, whole=stop is None)
            return Answer(body[skip:], _whole_size(response.headers, len(body))), "", 0.0

    @contextmanager
    def _timed(self, url: str) -> Generator[None]:
        """Let `check` know of a request while it lasts."""
        self._running[get_ident()] = (time.monotonic(), url)
        try:
            yield
        finally:
            del self._running[get_ident()]

    def _body(self, response: Reply, wanted: int, url: str, *, whole: bool) -> bytes:
        body, began = bytearray(), self._running[get_ident()][0]
        for chunk in response.chunks:
            body += chunk
            if time.monotonic() - began > _DEADLINE:
                raise self._too_slow(url)  # for this thread to end too
            if len(body) >= wanted:
                break
        if whole and len(body) >= wanted:
            raise CorruptFileError(f"{url}: more than the {wanted:,} bytes that are accepted")
        return bytes(body[:wanted])


def _check_address() -> None:
    """Check HF_ENDPOINT, which huggingface_hub uses unchecked.

    Raises:
        UsageError: it isn't an address.

    """
    address = os.environ.get("HF_ENDPOINT")
    if not address:
        return
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f"HF_ENDPOINT: {address!r} isn't an address of a Hub; write http:// or https:// and a host")


def _retry_after(headers: Mapping[str, str]) -> float:
    return float(natural(headers.get("Retry-After", "")) or 0)


def _whole_size(headers: Mapping[str, str], received: int) -> int:
    ranged = natural(headers.get("Content-Range", "").rpartition("/")[2])
    length = natural(headers.get("Content-Length", "")) if ranged is None else ranged
    return received if length is None else length
