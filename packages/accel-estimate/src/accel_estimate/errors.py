"""What can go wrong. The exit status is 2 if the user can fix it, 1 otherwise."""

from __future__ import annotations

from accel_config.errors import FAILED, USAGE, AccelError
from accel_config.showing.wording import line

_LONGEST = 1000  # characters of a message: a stranger's file may have chosen some


class EstimateError(AccelError):
    """A failure with one message: what it is about, what is wrong, and what to do.

    Names and values in it come from files of strangers, so it is one line without control characters, and not long.
    """

    status = FAILED

    def __init__(self, message: str) -> None:
        """Keep the message, shortened in its middle if it is long."""
        text = line(message)
        half = _LONGEST // 2
        super().__init__(text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}")


class UsageError(EstimateError):
    """The user can fix it: a wrong name, a missing permission, an option that doesn't apply."""

    status = USAGE


class ModelNotFoundError(UsageError):
    """There is no such repository, revision, folder or file, or this user has no access to it."""


class AccessError(UsageError):
    """The repository is gated, disabled or private, or the token isn't valid for it."""


class NoWeightsError(UsageError):
    """The model exists, but nothing in it describes its weights."""


class HubError(EstimateError):
    """The Hub is unreachable, slow or failing, or `HF_HUB_OFFLINE` is set."""


class CorruptFileError(EstimateError):
    """A weight file or its index contradicts itself; nothing in it is used."""


LARGEST = 10**15
"""More than anyone means; numbers of hundreds of digits have no float."""


def check_number(name: str, number: int, least: int) -> None:
    """Check the number of a flag.

    Raises:
        UsageError: it is too small, or larger than `LARGEST`.

    """
    if number < least:
        raise UsageError(f"--{name}: must " + (f"be at least {least}, not {number}" if least else "not be negative"))
    if number > LARGEST:
        raise UsageError(f"--{name}: must be at most {LARGEST:,}")
