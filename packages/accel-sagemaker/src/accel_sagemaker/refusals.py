"""What Amazon's services refuse, as one message each with the way out."""

from __future__ import annotations

from contextlib import contextmanager

from accel_config.errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

SIGN_IN = "sign in again ('aws sso login', or new keys) and repeat the command"

# The codes of errors, in groups that have one way out.
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")
UNKNOWN_KEY = ("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "AuthFailure")
BAD_SIGNATURE = ("SignatureDoesNotMatch", "InvalidSignatureException")
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled", "403")
THROTTLED = (
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "SlowDown",
)
WAYS: dict[tuple[str, ...], str] = {
    EXPIRED: f"the session has expired: {SIGN_IN}",
    UNKNOWN_KEY: "AWS doesn't know the key: check the profile or the keys, and that they are for this partition",
    BAD_SIGNATURE: "the secret key doesn't belong to the key id: check the profile or the keys",
    DENIED: "not allowed: ask whoever runs the account for the right to do this, or take another profile",
    THROTTLED: "AWS is answering too many requests of this account, and went on refusing: try again in a minute",
    (
        "ResourceLimitExceeded",
    ): "the account's quota doesn't allow it: take fewer or other instances, or ask for more "
    "in the Service Quotas console",
    ("ResourceInUse",): "a job of that name exists already: give another --sagemaker_job_name, or none",
    ("NoSuchBucket", "404"): "there is no such bucket: make it, or name another",
}
# What a message must hold for a way out that the code alone doesn't tell.
HINTS = {
    "assume role": "the role's trust policy must let sagemaker.amazonaws.com assume it",
    "requested resource not found": "the account has no such job in this region: see --region and --profile",
}
# Exceptions of the client itself, by class name, which says more than their messages do.
CLIENT = {
    "NoCredentialsError": "there are no AWS credentials: give --profile, sign in with 'aws configure' or "
    "'aws sso login', or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "PartialCredentialsError": "only one of two keys is there: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "UnauthorizedSSOTokenError": f"the session has expired: {SIGN_IN}",
    "SSOTokenLoadError": f"there is no session: {SIGN_IN}",
    "TokenRetrievalError": f"the session can't be renewed: {SIGN_IN}",
    "EndpointConnectionError": "it can't be reached: check the network and --region",
    "ConnectTimeoutError": "it can't be reached in time: check the network and --region",
    "ReadTimeoutError": "it doesn't answer in time: try again",
}


class Refusal(AccelError):
    """A service refused, or can't be asked; ``code`` is the error's own."""

    status = 1

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def passing(self) -> bool:
        """Whether asking again later may help."""
        server = self.code in ("InternalFailure", "InternalServerError", "ServiceUnavailable", "InternalError", "503")
        return server or self.code in THROTTLED or self.code in ("EndpointConnectionError", "ReadTimeoutError")


@contextmanager
def told(doing: str) -> Generator[None]:
    """Turn what boto3 raises inside into a `Refusal` that begins with what was being done."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        code, message = str(answer.get("Code", "")), str(answer.get("Message", ""))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        raise Refusal(f"{doing}: {_way(code, message)}", code) from None
    except BotoCoreError as error:
        name = type(error).__name__
        raise Refusal(f"{doing}: {CLIENT.get(name) or ' '.join(str(error).split())}", name) from None


def _way(code: str, message: str) -> str:
    said = f"{' '.join(message.split())} ({code})" if message else code
    way = next((way for codes, way in WAYS.items() if code in codes), "")
    way = way or next((way for words, way in HINTS.items() if words in message.lower()), "")
    return f"{way}. AWS says: {said}" if way else said
