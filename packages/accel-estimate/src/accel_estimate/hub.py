"""A model on the Hub, read by ranges: one request for the list of files, one for each header.

Requests are made with huggingface_hub's own client, address (`HF_ENDPOINT`), token and cache, so every setting of
that library holds here. It is imported on first use, because a local folder does not need it.
"""

import importlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlsplit

from accel_estimate import local
from accel_estimate.errors import AccessError, CorruptFileError, HubError, ModelNotFoundError, UsageError

FIRST_READ = 100_001  # as huggingface_hub reads: nearly every header is shorter
WORKERS = 32
RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
RETRIES = (0.5, 1.0, 2.0)  # seconds before the second, third and fourth try
_MAX_WAIT = 20.0
_MAX_LISTING = 50_000_000
_DEADLINE = 60.0  # for one answer as a whole, however slowly its bytes drip
_LONGEST_MESSAGE = 300  # characters of what a Hub says that are shown

Progress = Callable[[int, int], None]


class Answer(NamedTuple):
    """One answer of the Hub: `size` is the whole file's, from Content-Range or Content-Length."""

    body: bytes
    size: int


class Client:
    """Speaks to the Hub about one repository."""

    def __init__(self, repository: str, revision: str) -> None:
        """Import huggingface_hub and check the repository's name.

        Raises:
            UsageError: it cannot be the name of a repository, or the Hub's address or the token cannot be one.

        """
        _check_address()
        from huggingface_hub import __version__, constants, get_token
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import get_session, validate_repo_id

        try:
            validate_repo_id(repository)
        except HFValidationError:
            raise UsageError(
                f"{repository!r} is neither a file or folder here nor the name of a repository "
                "(OWNER/NAME) on the Hub."
            ) from None
        self.repository, self.revision = repository, revision
        self.endpoint: str = constants.ENDPOINT
        self.offline: bool = constants.is_offline_mode()
        self.cache = str(constants.HF_HUB_CACHE)
        self.timeout = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        if token is not None and not (token.isascii() and token.isprintable()):
            raise AccessError(
                "Your token for the Hub has letters that no token has. Log in again with `hf auth login`, "
                "or mend HF_TOKEN."
            )
        self.has_token = token is not None
        # Not build_hf_headers(): it asks the Hub for a list of coding agents first, to name one.
        self._headers = {"User-Agent": f"accel-estimate; hf_hub/{__version__}"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._session: Any = get_session()
        transport = importlib.import_module(type(self._session).__module__.partition(".")[0])
        self._request_error: type[Exception] = transport.RequestError

    def file(self, name: str) -> str:
        """Give the address of one file."""
        return f"{self.endpoint}/{self.repository}/resolve/{quote(self.revision, safe='')}/{quote(name)}"

    def page(self) -> str:
        """Give the address of the repository's page."""
        return f"{self.endpoint}/{self.repository}"

    def get(self, url: str, start: int = 0, stop: int | None = None, limit: int = _MAX_LISTING) -> Answer:
        """Get `url`, or its bytes `start` to `stop`, with three more tries when the Hub is slow or failing.

        Raises:
            HubError: no usable answer after all tries.
            ModelNotFoundError, AccessError: the Hub says no.

        """
        fault = ""
        for wait in (*RETRIES, None):
            try:
                answer, fault, asked = self._try(url, start, stop, limit)
            except self._request_error as error:
                answer, fault, asked = None, f"{type(error).__name__}: {error}".rstrip(": "), 0.0
            if answer is not None:
                return answer
            if wait is not None:
                time.sleep(min(max(wait, asked), _MAX_WAIT))
        raise HubError(
            f"The Hub at {self.endpoint} gave no usable answer in {len(RETRIES) + 1} tries ({fault}). "
            f"Try later{self._hint()}."
        )

    def _hint(self) -> str:
        if local.cached(self.cache, self.repository, self.revision) is None:
            return ", or name a local folder"
        return ", or set HF_HUB_OFFLINE=1 to use the copy in the cache"

    def _try(self, url: str, start: int, stop: int | None, limit: int) -> tuple[Answer | None, str, float]:
        headers = self._headers | {"Accept-Encoding": "identity"}
        if stop is not None:
            headers["Range"] = f"bytes={start}-{stop - 1}"
        with self._session.stream(
            "GET", url, headers=headers, timeout=self.timeout, follow_redirects=True
        ) as response:
            if response.status_code in RETRY_STATUS:
                return None, f"HTTP {response.status_code}", _retry_after(response.headers)
            if (
                response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            ):  # the file is empty, or ends before `start`
                return Answer(b"", _whole_size(response.headers, 0)), "", 0.0
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                raise self._refusal(response.status_code, response.headers, url)
            ignored = (
                response.status_code == HTTPStatus.OK
            )  # the server ignored the range: step over what comes before it
            skip = start if ignored else 0
            body = self._body(response, skip + (limit if stop is None else stop - start), url, whole=stop is None)
            return Answer(body[skip:], _whole_size(response.headers, len(body))), "", 0.0

    def _body(self, response: Any, wanted: int, url: str, *, whole: bool) -> bytes:
        body, began = bytearray(), time.monotonic()
        for chunk in response.iter_raw():
            body += chunk
            if time.monotonic() - began > _DEADLINE:
                raise HubError(f"The Hub took more than {_DEADLINE:.0f} s over {url}; try later{self._hint()}.")
            if len(body) >= wanted:
                break
        if whole and len(body) >= wanted:
            raise CorruptFileError(f"{url}: more than {wanted:,} bytes; refused.")
        return bytes(body[:wanted])

    def _refusal(self, status: int, headers: Mapping[str, str], url: str) -> Exception:
        code, message = headers.get("X-Error-Code", ""), _shown(headers.get("X-Error-Message", ""))
        name = self.repository
        login = "" if self.has_token else ", then log in with `hf auth login` or set HF_TOKEN"
        if code == "GatedRepo":
            return AccessError(f"{name} is gated: ask for access at {self.page()}{login}.")
        if "disabled" in message:
            return AccessError(f"{name} is disabled on the Hub: {message}")
        if status == HTTPStatus.UNAUTHORIZED and self.has_token and "nvalid" in message:
            return AccessError(
                f"The Hub does not accept your token ({message}). Log in again with `hf auth login`, "
                "or mend HF_TOKEN."
            )
        if code == "RevisionNotFound":
            return ModelNotFoundError(f"{name} has no revision {self.revision!r}.")
        if code == "EntryNotFound":
            return ModelNotFoundError(f"{name} has no file {url.rpartition('/')[2]!r}.")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND):
            private = "your token may not read it" if self.has_token else "it is private: log in with `hf auth login`"
            return ModelNotFoundError(f"{name} is not on the Hub at {self.endpoint}, or {private}.")
        if status == HTTPStatus.FORBIDDEN:
            return AccessError(f"The Hub refuses {name}: {message or 'HTTP 403'}.")
        return HubError(f"The Hub answered HTTP {status} for {url}{': ' + message if message else ''}.")


def _check_address() -> None:
    """Check HF_ENDPOINT, which huggingface_hub takes as it is.

    Raises:
        UsageError: it is no address.

    """
    address = os.environ.get("HF_ENDPOINT")
    if not address:
        return
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise UsageError(f"HF_ENDPOINT: {address!r} is no address of a Hub: write http:// or https:// and a host.")


def _shown(text: str) -> str:
    """Give a stranger's words without what would command a terminal."""
    return "".join(letter for letter in text[:_LONGEST_MESSAGE] if letter.isprintable())


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


def _whole_size(headers: Mapping[str, str], seen: int) -> int:
    ranged = headers.get("Content-Range", "").rpartition("/")[2]
    if ranged.isdigit():
        return int(ranged)
    length = headers.get("Content-Length", "")
    return int(length) if length.isdigit() else seen


class RemoteFile:
    """A file on the Hub. Its first bytes are read once and kept; the size comes with them."""

    def __init__(self, client: Client, name: str, first: int) -> None:
        """Take the file `name`; nothing is asked for yet, and then `first` bytes at least."""
        self.name = f"{client.repository}/{name}"
        self._client, self._url, self._first = client, client.file(name), first
        self._front: Answer | None = None

    @property
    def size(self) -> int:
        """The file's whole size."""
        return self._read_front(0).size

    def _read_front(self, stop: int) -> Answer:
        if self._front is None:
            self._front = self._client.get(self._url, 0, max(stop, self._first))
        return self._front

    def read(self, start: int, stop: int) -> bytes:
        """Read bytes `start` to `stop`, asking for no more than the part that is not here yet."""
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
            EstimateError: it does not exist, is not to be read, or the Hub does not answer.

        """
        self.name = client.repository
        self._client, self._progress = client, progress
        url = f"{client.endpoint}/api/models/{client.repository}/revision/{quote(client.revision, safe='')}"
        listing = _json(client.get(f"{url}?blobs=true").body, url)
        library = listing.get("library_name")
        self.library: str | None = library if isinstance(library, str) else None
        self.files: Mapping[str, int] = dict(_siblings(listing.get("siblings")))

    def open(self, name: str) -> RemoteFile:
        """Open one file."""
        first = 2**20 if name.endswith(".gguf") else FIRST_READ
        return RemoteFile(self._client, name, first)

    def map(self, work: Callable[[str], Any], names: Sequence[str]) -> list[Any]:
        """Do the work for all names at once, telling the progress.

        When one fails, and on Ctrl-C, nobody waits for what the others have asked for.
        """
        jobs, answers, over = SimpleQueue[tuple[int, str]](), SimpleQueue[_Outcome](), Event()
        for job in enumerate(names):
            jobs.put(job)
        for _ in range(min(WORKERS, len(names))):
            Thread(target=_worker, args=(work, jobs, answers, over), daemon=True).start()
        results: list[Any] = [None] * len(names)
        try:
            for done in range(1, len(names) + 1):
                place, result, error = answers.get()
                if error is not None:
                    raise error
                results[place] = result
                if self._progress is not None:
                    self._progress(done, len(names))
        finally:
            over.set()
        return results


class _Outcome(NamedTuple):
    """What became of the job at a place."""

    place: int
    result: Any
    error: BaseException | None


def _worker(
    work: Callable[[str], Any], jobs: SimpleQueue[tuple[int, str]], answers: SimpleQueue[_Outcome], over: Event
) -> None:
    """Do jobs until there are none, or it is over."""
    while not over.is_set():
        try:
            place, name = jobs.get_nowait()
        except Empty:
            return
        try:
            answers.put(_Outcome(place, work(name), None))
        except BaseException as error:
            answers.put(_Outcome(place, None, error))


def _json(body: bytes, url: str) -> dict[str, Any]:
    import json

    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise HubError(f"{url} did not answer with JSON; is HF_ENDPOINT a Hub?")
    return cast("dict[str, Any]", value)


def _siblings(siblings: Any) -> list[tuple[str, int]]:
    """Read the listing's names and sizes; whatever is not so written is left out."""
    if not isinstance(siblings, list):
        return []
    found: list[tuple[str, int]] = []
    for entry in cast("list[Any]", siblings):
        if isinstance(entry, dict):
            name, size = (cast("dict[str, Any]", entry).get(key) for key in ("rfilename", "size"))
            if isinstance(name, str):
                found.append((name, size if isinstance(size, int) else 0))
    return found


def repository(
    name: str, revision: str = "main", progress: Progress | None = None
) -> "HubRepository | local.LocalFolder":
    """Find a repository: on the Hub, or in its cache when the machine is to stay offline (`HF_HUB_OFFLINE=1`).

    Raises:
        HubError: offline, and not in the cache.
        EstimateError: see `HubRepository`.

    """
    client = Client(name, revision)
    if not client.offline:
        return HubRepository(client, progress)
    snapshot = local.cached(client.cache, name, revision)
    if snapshot is None:
        raise HubError(
            f"HF_HUB_OFFLINE is set, and {name} ({revision}) is not in the cache at {client.cache}. "
            "Unset it, or fetch the model first."
        )
    return snapshot
