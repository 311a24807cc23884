"""Refusals of Amazon's services: for each, one message with what to do about it."""

from __future__ import annotations

from contextlib import contextmanager

from accel_config.errors import FAILED, AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

SIGN_IN = "sign in again ('aws sso login', or new keys) and repeat the command"

ODD = (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError, RuntimeError)
"""What reading an answer raises that lacks something, or has it in another type."""
ANSWER = "InvalidAnswer"
LONGEST = 200

# The codes of errors, grouped by what to do about them.
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
    EXPIRED: f"the session has expired; {SIGN_IN}",
    UNKNOWN_KEY: "the key isn't valid; check the profile or the keys, and that they are for this partition",
    BAD_SIGNATURE: "the secret key doesn't match the key id; check the profile or the keys",
    DENIED: "access is denied; ask the account's administrator for this permission, or use another profile",
    THROTTLED: "AWS limits this account's requests and still refuses after several attempts; try again in a minute",
    ("ResourceLimitExceeded",): (
        "the account's quota is too low; use fewer or other instances, or request more in the Service Quotas console"
    ),
    ("ResourceInUse",): "a job of that name already exists; give another --sagemaker_job_name, or none",
    ("NoSuchBucket", "404"): "the bucket doesn't exist; create it, or name another",
}
# Words of a message that are more specific than the code.
HINTS = {
    "assume role": "the role's trust policy must let sagemaker.amazonaws.com assume it",
    "requested resource not found": "the account has no such job in this region; check --region and --profile",
}
# Exceptions of the client itself, by class name, which is more specific than their messages.
CLIENT = {
    "NoCredentialsError": "there are no AWS credentials; give --profile, sign in with 'aws configure' or "
    "'aws sso login', or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "PartialCredentialsError": "only one of two keys is set; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "UnauthorizedSSOTokenError": f"the session has expired; {SIGN_IN}",
    "SSOTokenLoadError": f"there is no session; {SIGN_IN}",
    "TokenRetrievalError": f"the session can't be renewed; {SIGN_IN}",
    "EndpointConnectionError": "the service can't be reached; check the network and --region",
    "ConnectTimeoutError": "the service can't be reached in time; check the network and --region",
    "ReadTimeoutError": "the service doesn't answer in time; try again",
}


class Refusal(AccelError):
    """A service refused a call, or can't be reached; ``code`` is the code of its error."""

    status = FAILED

    def __init__(self, *lines: str, code: str) -> None:
        super().__init__(*lines)
        self.code = code

    @property
    def temporary(self) -> bool:
        """Whether the same call may succeed later."""
        server = self.code in ("InternalFailure", "InternalServerError", "ServiceUnavailable", "InternalError", "503")
        return (
            server or self.code in THROTTLED or self.code in ("EndpointConnectionError", "ReadTimeoutError", ANSWER)
        )


@contextmanager
def calling(doing: str) -> Generator[None]:
    """Turn boto3's exceptions in the body into a `Refusal` whose message begins with ``doing``.

    Raises:
        Refusal: the body raised such an exception.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        code, message = str(answer.get("Code", "")), str(answer.get("Message", ""))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        raise Refusal(f"{doing}: {_way(code, message)}", code=code) from None
    except BotoCoreError as error:
        name = type(error).__name__
        raise Refusal(f"{doing}: {CLIENT.get(name) or ' '.join(str(error).split())}", code=name) from None
    except (ResponseParserError, *ODD) as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST]}"
        raise Refusal(
            f"{doing}: the service's answer isn't as it should be ({what}); check the address", code=ANSWER
        ) from None


def _way(code: str, message: str) -> str:
    answer = f"{' '.join(message.split())} ({code})" if message else code
    way = next((way for codes, way in WAYS.items() if code in codes), "")
    way = way or next((way for words, way in HINTS.items() if words in message.lower()), "")
    return f"{way}. AWS's answer: {answer}" if way else answer
