"""The role that the wizard makes, at a moto server; and the wizard that makes it, on a terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from accel_config import CATALOGUE, AccelError, resolve
from accel_config.origin import TO_BE_MADE, Value
from accel_sagemaker import role
from tests.config.test_wizard import DOWN, ENTER, WIPE, Terminal

from .service import ACCOUNT

NAME = "accelerate_sagemaker_execution_role"
ARN = f"arn:aws:iam::{ACCOUNT}:role/{NAME}"
ANSWERS = {"compute_environment": "AMAZON_SAGEMAKER", "iam_role_name": NAME, "region": "eu-west-1"}


@pytest.fixture
def iam(amazon: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, text in amazon.items():
        monkeypatch.setenv(name, text)
    return boto3.client("iam", region_name="eu-west-1")


def make(**more: str) -> list[str]:
    return role.make(
        resolve(CATALOGUE, [{name: Value(text, TO_BE_MADE) for name, text in {**ANSWERS, **more}.items()}])
    )


def test_a_role_that_sagemaker_may_assume(iam: Any) -> None:
    assert make() == [f"The role is made: {ARN}"]
    trust = iam.get_role(RoleName=NAME)["Role"]["AssumeRolePolicyDocument"]
    assert trust["Statement"][0]["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert iam.list_role_policies(RoleName=NAME)["PolicyNames"] == [f"{NAME}_policy_permission"]
    policy = iam.get_role_policy(RoleName=NAME, PolicyName=f"{NAME}_policy_permission")["PolicyDocument"]
    allowed = policy["Statement"][0]["Action"]
    services = [action.partition(":")[0] for action in allowed]
    assert {name: services.count(name) for name in services} == {
        "sagemaker": 1, "ecr": 4, "cloudwatch": 3, "logs": 5, "s3": 5,
    }  # fmt: skip


def test_a_role_that_is_there_is_used_as_it_is(iam: Any) -> None:
    iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=json.dumps(role.TRUST))
    iam.put_role_policy(RoleName=NAME, PolicyName="own", PolicyDocument=json.dumps(role.POLICY))
    assert make() == make() == [f"The role is there already: {ARN}"]
    assert iam.list_role_policies(RoleName=NAME)["PolicyNames"] == ["own"]


def test_a_role_that_was_left_without_rights_gets_them(iam: Any) -> None:
    iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=json.dumps(role.TRUST))
    assert make() == [f"The role is there already: {ARN}"]
    assert iam.list_role_policies(RoleName=NAME)["PolicyNames"] == [f"{NAME}_policy_permission"]


def test_the_keys_typed_are_used_before_those_of_the_environment(iam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccelError, match="there are no AWS credentials"):
        make()
    typed = {"aws_access_key_id": "AKIATYPED", "aws_secret_access_key": "typed"}
    assert make(**typed) == [f"The role is made: {ARN}"]


def test_what_amazon_refuses_is_told(iam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(AccelError, match=f"making the role {NAME}: it can't be reached"):
        make()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(AccelError, match="there is no AWS profile 'nope'"):
        make(profile="nope")


@pytest.fixture
def nobody(amazon: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of somebody without keys in it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    return {**os.environ, "AWS_ENDPOINT_URL": amazon["AWS_ENDPOINT_URL"]}


def wizard(path: Path, environ: dict[str, str]) -> Terminal:
    """Answer as one who has a pair of keys and no role."""
    person = Terminal(environ, "--config_file", str(path))
    person.answer("In which compute environment", DOWN + ENTER)
    person.answer("Which type of machine", ENTER)
    person.answer("AWS profile", "n")
    person.answer("In which AWS region", WIPE + "eu-west-1" + ENTER)
    person.answer("IAM role for the job already", "n")
    person.answer("id of the AWS access key", "AKIAHIDDENHIDDEN" + ENTER)
    person.answer("secret access key", "hidden-secret" + ENTER)
    rest(person)
    return person


def rest(person: Terminal) -> None:
    for question in (
        "EC2 instance",
        "Docker image",
        "job be called",
        "input channels",
        "metrics",
        "precision",
        "dynamo",
    ):
        person.answer(question, ENTER)


def test_the_wizard_makes_it_with_keys_that_it_forgets(iam: Any, nobody: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    person = wizard(path, nobody)
    person.child.expect_exact("launch needs the keys each time")
    person.child.expect_exact(f"The role is made: {ARN}")
    assert person.end() == 0
    found = yaml.safe_load(path.read_text())
    assert (found["iam_role_name"], found["region"], "profile" in found) == (NAME, "eu-west-1", False)
    assert iam.get_role(RoleName=NAME)["Role"]["Arn"] == ARN
    assert "hidden" not in (person.seen.getvalue() + path.read_text()).lower()


def test_a_role_that_cant_be_made_costs_no_answer(nobody: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    person = wizard(path, {**nobody, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    person.child.expect_exact(f"{NAME} isn't made: making the role {NAME}: it can't be reached")
    assert person.end() == 1
    written = path.read_text()
    assert yaml.safe_load(written)["iam_role_name"] == NAME
    again = Terminal(nobody, "--config_file", str(path))
    again.answer("exists. Replace it", "y")
    for question in (
        "compute environment",
        "type of machine",
        "AWS profile",
        "AWS region",
        "IAM role for the job",
        "ARN",
    ):
        again.answer(question, ENTER)
    rest(again)
    assert again.end() == 0
    assert path.read_text() == written
