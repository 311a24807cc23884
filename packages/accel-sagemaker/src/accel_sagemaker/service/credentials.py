"""The credentials for calls to Amazon, found in one order: from typed keys to the machine's own role."""

from __future__ import annotations

from accel_config.catalogue import SageMaker
from accel_config.catalogue.sagemaker import LONG_TERM
from accel_config.errors import SettingError
from accel_config.record import Record
from accel_config.settings.origin import FILE
from accel_sagemaker.service.refusals import calling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_config.settings.resolved import Settings

READING = "reading the AWS profiles"


class Credentials(Record):
    """A profile or keys; without either, boto3 uses its variables, its files, or the machine's role."""

    profile: str | None = None
    keys: tuple[str, str, str | None] | None = None

    def __repr__(self) -> str:
        """Show the profile, never a key."""
        return f"Credentials(profile={self.profile!r}, keys={'***' if self.keys else None})"

    def session(self, region: str | None = None) -> Any:
        """Return a boto3 session with these credentials.

        Raises:
            SettingError: there is no such profile.
        """
        import boto3
        from botocore.exceptions import ProfileNotFound

        key_id, secret, token = self.keys or (None, None, None)
        with calling(READING):
            try:
                return boto3.Session(
                    aws_access_key_id=key_id,
                    aws_secret_access_key=secret,
                    aws_session_token=token,
                    region_name=region,
                    profile_name=self.profile,
                )
            except ProfileNotFound as error:
                name: object = error.kwargs["profile"]  # pyright: ignore[reportUnknownMemberType]
                origin = "" if self.profile else " (AWS_PROFILE)"
                raise SettingError(
                    f"there is no AWS profile {name!r}{origin} (profiles: {', '.join(_profiles()) or 'none'}); name "
                    "another with --profile, or create it with 'aws configure --profile'"
                ) from None


def find(settings: Settings, environ: Mapping[str, str]) -> tuple[Credentials, list[str]]:
    """Return the credentials, and a note if the environment overrides the profile of the config file.

    The order: typed keys, a typed profile, keys or a profile in the environment, the profile of the config file, and
    boto3's own search.

    Raises:
        SettingError: only one of the two keys is set.
    """
    job = settings[SageMaker]
    key_id, secret = job.aws_access_key_id, job.aws_secret_access_key
    if key_id and secret:
        temporary = job.aws_session_token or environ.get("AWS_SESSION_TOKEN")
        return Credentials(keys=(key_id, secret, None if key_id.startswith(LONG_TERM) else temporary)), []
    if key_id or secret:
        given, missing = ("aws_access_key_id", "aws_secret_access_key")[:: 1 if key_id else -1]
        raise SettingError(
            f"{settings.origin(given)} is only one of two keys; give {missing} too, or --profile instead"
        )
    profile = settings.value("profile")
    if job.profile and profile.origin.layer < FILE:
        return Credentials(profile=job.profile), []
    variable = next((name for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE") if environ.get(name)), None)
    if variable is not None or not job.profile:
        unused = [f"{variable} is set, so the profile {job.profile} ({profile.origin}) isn't used"]
        same = variable == "AWS_PROFILE" and environ[variable] == job.profile
        return Credentials(), unused if variable is not None and job.profile and not same else []
    return Credentials(profile=_existing(job.profile)), []


def _existing(profile: str) -> str | None:
    """Return the profile, or None for a missing ``default``: the wizard always writes that name."""
    return profile if profile != "default" or profile in _profiles() else None


def _profiles() -> list[str]:
    """Return the names of this machine's profiles."""
    from botocore.session import Session

    with calling(READING):
        return Session().available_profiles


def region(settings: Settings, credentials: Credentials, environ: Mapping[str, str]) -> str:
    """Return the job's region: from the setting, the environment or the profile, else the built-in one.

    Raises:
        SettingError: it isn't a valid name of a region.
    """
    from botocore.exceptions import InvalidRegionError
    from botocore.utils import validate_region_name

    name, origin = _region(settings, credentials, environ)
    try:
        validate_region_name(name)
    except InvalidRegionError:
        raise SettingError(f"{origin}: {name!r} isn't a valid AWS region, such as eu-west-1") from None
    return name


def _region(settings: Settings, credentials: Credentials, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the region's name and its origin."""
    setting = settings.value("region")
    if setting.given and setting.value:
        return str(setting.value), str(setting.origin)
    variable = next((name for name in ("AWS_REGION", "AWS_DEFAULT_REGION") if environ.get(name)), None)
    if variable:
        return environ[variable], variable
    own: str | None = credentials.session().region_name
    return (own, "the profile's region") if own else (str(setting.value), str(setting.origin))
