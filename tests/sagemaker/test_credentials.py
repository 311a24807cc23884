"""Whose credentials sign: one order."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel_config import AccelError, SettingError
from accel_sagemaker.service import credentials
from tests.conftest import Resolve

PROFILE = "compute_environment: AMAZON_SAGEMAKER\nprofile: work\n"
KEYS = ("--aws_access_key_id", "ASIAX", "--aws_secret_access_key", "s")


@pytest.fixture(autouse=True)
def profiles(alone: None, tmp_path: Path) -> None:
    (tmp_path / "aws-config").write_text("[profile work]\nregion = eu-west-3\n[profile other]\nregion = eu-west-2\n")


@pytest.mark.parametrize(
    ("flags", "environ", "found"),
    [
        (KEYS, {"AWS_ACCESS_KEY_ID": "x"}, credentials.Credentials(keys=("ASIAX", "s", None))),
        (KEYS, {"AWS_SESSION_TOKEN": "t"}, credentials.Credentials(keys=("ASIAX", "s", "t"))),
        (
            (*KEYS, "--aws_access_key_id", "AKIAX"),
            {"AWS_SESSION_TOKEN": "t"},
            credentials.Credentials(keys=("AKIAX", "s", None)),
        ),
        (("--profile", "other"), {"AWS_ACCESS_KEY_ID": "x"}, credentials.Credentials(profile="other")),
        ((), {"AWS_ACCESS_KEY_ID": "x"}, credentials.Credentials()),
        ((), {"AWS_PROFILE": "other"}, credentials.Credentials()),
        ((), {}, credentials.Credentials(profile="work")),
    ],
)
def test_the_order(
    settings: Resolve, flags: tuple[str, ...], environ: dict[str, str], found: credentials.Credentials
) -> None:
    assert credentials.find(settings(*flags, file=PROFILE), environ)[0] == found


def test_a_profile_that_is_not_used_is_named(settings: Resolve) -> None:
    resolved = settings(file=PROFILE)
    (note,) = credentials.find(resolved, {"AWS_ACCESS_KEY_ID": "x"})[1]
    assert note.startswith("AWS_ACCESS_KEY_ID is set, so the profile work (")
    assert not credentials.find(resolved, {"AWS_PROFILE": "work"})[1]


def test_the_wizards_default_profile_needs_no_profile(settings: Resolve) -> None:
    """On a machine with a role of its own there is no file of profiles."""
    resolved = settings(file=PROFILE.replace("work", "default"))
    assert credentials.find(resolved, {})[0] == credentials.Credentials()


def test_an_unknown_profile_is_named_with_those_there_are() -> None:
    with pytest.raises(SettingError, match=r"there is no AWS profile 'nobody' \(profiles: work, other\)"):
        credentials.Credentials(profile="nobody").session()


def test_an_unknown_profile_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(
        SettingError, match=r"there is no AWS profile 'nobody' \(AWS_PROFILE\) \(profiles: work, other\)"
    ):
        credentials.Credentials().session()


@pytest.mark.parametrize("file", [PROFILE, PROFILE.replace("work", "default")])
def test_a_broken_file_of_profiles_is_named(settings: Resolve, tmp_path: Path, file: str) -> None:
    (tmp_path / "aws-config").write_text("[profile work\n")
    with pytest.raises(AccelError, match=r"reading the AWS profiles: Unable to parse config file: .*aws-config"):
        credentials.find(settings(file=file), {})[0].session()


@pytest.mark.parametrize(("flags", "environ"), [(("--region", "a b"), {}), ((), {"AWS_REGION": "a b"})])
def test_what_can_be_no_region_is_refused(settings: Resolve, flags: tuple[str, ...], environ: dict[str, str]) -> None:
    origin = flags[0] if flags else "AWS_REGION"
    with pytest.raises(SettingError, match=f"{origin}: 'a b' isn't a valid AWS region"):
        credentials.region(settings(*flags, file=PROFILE), credentials.Credentials(), environ)


def test_the_profiles_region(settings: Resolve) -> None:
    resolved = settings(file=PROFILE)
    assert credentials.region(resolved, credentials.Credentials(profile="work"), {}) == "eu-west-3"
    assert (
        credentials.region(resolved, credentials.Credentials(profile="work"), {"AWS_REGION": "sa-east-1"})
        == "sa-east-1"
    )


def test_keys_have_no_repr() -> None:
    assert repr(credentials.Credentials(keys=("id", "secret", "token"))) == "Credentials(profile=None, keys=***)"
