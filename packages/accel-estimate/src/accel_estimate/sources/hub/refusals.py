"""What an answer of the Hub means if it isn't the file: an error for the user."""

from __future__ import annotations

from http import HTTPStatus

from accel_config.record import Record
from accel_estimate.errors import AccessError, HubError, ModelNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_estimate.errors import EstimateError

_LONGEST_MESSAGE = 300  # characters of a Hub's message that are shown


class Target(Record):
    """The repository of a request: its name and revision, the Hub's address, and whether a token is sent."""

    repository: str
    revision: str
    endpoint: str
    has_token: bool

    @property
    def page(self) -> str:
        """The address of the repository's page."""
        return f"{self.endpoint}/{self.repository}"


def refusal(target: Target, status: int, headers: Mapping[str, str], url: str) -> EstimateError:
    """Return the error for an answer with a status from 400 on to a request for `url`."""
    code, message = headers.get("X-Error-Code", ""), _printable(headers.get("X-Error-Message", ""))
    name = target.repository
    login = "" if target.has_token else ", then log in with `hf auth login` or set HF_TOKEN"
    if code == "GatedRepo":
        return AccessError(f"{name} is gated: request access at {target.page}{login}")
    if "disabled" in message:
        return AccessError(f"{name} is disabled on the Hub: {message}")
    if status == HTTPStatus.UNAUTHORIZED and target.has_token and "nvalid" in message:
        return AccessError(
            f"the Hub doesn't accept your token ({message}); log in again with `hf auth login`, or correct HF_TOKEN"
        )
    if code == "RevisionNotFound":
        return ModelNotFoundError(f"{name} has no revision {target.revision!r}")
    if code == "EntryNotFound":
        return ModelNotFoundError(f"{name} has no file {url.rpartition('/')[2]!r}")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND):
        private = (
            "your token has no access to it" if target.has_token else "it is private: log in with `hf auth login`"
        )
        return ModelNotFoundError(f"{name} isn't on the Hub at {target.endpoint}, or {private}")
    if status == HTTPStatus.FORBIDDEN:
        return AccessError(f"the Hub refuses {name}: {message or 'HTTP 403'}")
    return HubError(f"the Hub answered HTTP {status} for {url}{': ' + message if message else ''}")


def _printable(text: str) -> str:
    """Return a stranger's words without control characters, which could command a terminal."""
    return "".join(letter for letter in text[:_LONGEST_MESSAGE] if letter.isprintable())
