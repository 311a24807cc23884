"""What can go wrong, each with the exit status of the command: 2 for the user's mistake, 1 for the world's."""


class EstimateError(Exception):
    """A failure with one clear message: what it is about, what is wrong, and the way out."""

    status = 1


class UsageError(EstimateError):
    """The user can mend it: a wrong name, a missing permission, an option that does not apply."""

    status = 2


class ModelNotFoundError(UsageError):
    """No such repository, revision, folder or file (or one that this user may not know of)."""


class AccessError(UsageError):
    """The repository is gated, disabled or private, or the token is not good for it."""


class NoWeightsError(UsageError):
    """The model is there, but nothing in it tells its weights."""


class HubError(EstimateError):
    """The Hub is out of reach, slow or failing, or the machine was told to stay offline."""


class CorruptFileError(EstimateError):
    """A weight file or its index contradicts itself; nothing it says is used."""
