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
from accel_config.settings.origin import TO_BE_MADE, Value
from accel_sagemaker.service import policy, role
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
    assert make() == [f"The role was created: {ARN}"]
    trust = iam.get_role(RoleName=NAME)["Role"]["AssumeRolePolicyDocument"]
    assert trust["Statement"][0]["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert iam.list_role_policies(RoleName=NAME)["PolicyNames"] == [f"{NAME}_policy_permission"]
    given = iam.get_role_policy(RoleName=NAME, PolicyName=f"{NAME}_policy_permission")["PolicyDocument"]
    assert given == document("eu-west-1")


def document(region: str, **answers: object) -> dict[str, Any]:
    values = {**ANSWERS, "region": region, **answers}
    settings = resolve(CATALOGUE, [{name: Value(value, TO_BE_MADE) for name, value in values.items()}])
    partition = "aws-cn" if region.startswith("cn-") else "aws"
    return policy.document(settings, ARN.replace("arn:aws:", f"arn:{partition}:"), region)


def allowed(document: dict[str, Any]) -> dict[str, list[str]]:
    """The resources of each action."""
    found: dict[str, list[str]] = {}
    for statement in document["Statement"]:
        for action in statement["Action"]:
            found.setdefault(action, []).extend(statement["Resource"])
    return found


def test_the_role_may_do_what_a_job_needs_and_no_more() -> None:
    found = allowed(document("eu-west-1"))
    registry = "arn:aws:ecr:eu-west-1:763104351884:repository"
    group = f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:/aws/sagemaker/TrainingJobs"
    bucket = f"arn:aws:s3:::sagemaker-eu-west-1-{ACCOUNT}"
    pulled = [
        f"{registry}/pytorch-training",
        f"{registry}/huggingface-pytorch-training",
        f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/*",
    ]
    logged = [group, f"{group}:*"]
    assert found == {
        "ecr:GetAuthorizationToken": ["*"],
        **dict.fromkeys(policy.PULL, pulled),
        **dict.fromkeys(policy.LOG, logged),
        "cloudwatch:PutMetricData": ["*"],
        "s3:ListBucket": [bucket],
        "s3:GetBucketLocation": [bucket],
        "s3:GetObject": [f"{bucket}/*"],
        "s3:PutObject": [f"{bucket}/*"],
        "s3:AbortMultipartUpload": [f"{bucket}/*"],
    }


@pytest.mark.parametrize("region", ["eu-west-1", "cn-north-1", "af-south-1"])
def test_no_wildcard_beyond_what_has_no_name(region: str) -> None:
    for statement in document(region)["Statement"]:
        assert not any("*" in action for action in statement["Action"])
        if "*" in statement["Resource"]:
            login = statement["Action"] == ["ecr:GetAuthorizationToken"]
            assert login or statement["Condition"] == {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}}
        for resource in statement["Resource"]:
            assert resource == "*" or not resource.rstrip("*").endswith(":::"), resource
    partition = {
        resource.split(":")[1]
        for resources in allowed(document(region)).values()
        for resource in resources
        if resource != "*"
    }
    assert partition == {"aws-cn" if region.startswith("cn-") else "aws"}


def test_an_image_that_is_named_is_the_only_one(tmp_path: Path) -> None:
    found = allowed(document("eu-west-1", image_uri="111122223333.dkr.ecr.us-east-1.amazonaws.com/team/train:1"))
    assert found["ecr:BatchGetImage"] == ["arn:aws:ecr:us-east-1:111122223333:repository/team/train"]


def test_the_buckets_that_the_settings_name_are_added(tmp_path: Path) -> None:
    table = tmp_path / "inputs.tsv"
    table.write_text("channel_name\tdata_location\ntrain\ts3://data-of-ours/train\n")
    more = {"output_path": "s3://results/x", "checkpoint_s3_uri": "s3://states", "tags": ["s3:/no"]}
    found = allowed(document("eu-west-1", sagemaker_inputs_file=str(table), additional_args=more))
    mine = f"arn:aws:s3:::sagemaker-eu-west-1-{ACCOUNT}/*"
    assert found["s3:PutObject"] == ["arn:aws:s3:::results/*", mine, "arn:aws:s3:::states/*"]
    assert set(found["s3:GetObject"]) == {*found["s3:PutObject"], "arn:aws:s3:::data-of-ours/*"}
    assert "arn:aws:s3:::data-of-ours" in found["s3:ListBucket"]


def test_a_role_that_is_there_is_used_as_it_is(iam: Any) -> None:
    iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=json.dumps(policy.TRUST))
    iam.put_role_policy(RoleName=NAME, PolicyName="own", PolicyDocument=json.dumps(document("eu-west-1")))
    assert make() == make() == [f"The role already exists: {ARN}"]
    assert iam.list_role_policies(RoleName=NAME)["PolicyNames"] == ["own"]


def test_a_role_that_was_left_without_rights_gets_them(iam: Any) -> None:
    iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=json.dumps(policy.TRUST))
    assert make() == [f"The role already exists: {ARN}"]
    assert iam.list_role_policies(RoleName=NAME)["PolicyNames"] == [f"{NAME}_policy_permission"]


def test_the_keys_typed_are_used_before_those_of_the_environment(iam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccelError, match="there are no AWS credentials"):
        make()
    typed = {"aws_access_key_id": "AKIATYPED", "aws_secret_access_key": "typed"}
    assert make(**typed) == [f"The role was created: {ARN}"]


def test_what_amazon_refuses_is_one_message(iam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(AccelError, match=f"creating the role {NAME}: the service can't be reached"):
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
    person.answer("Which AWS region", WIPE + "eu-west-1" + ENTER)
    person.answer("already an IAM role for the job", "n")
    person.answer("id of the AWS access key", "AKIAHIDDENHIDDEN" + ENTER)
    person.answer("secret access key", "hidden-secret" + ENTER)
    rest(person)
    return person


def rest(person: Terminal) -> None:
    for question in (
        "EC2 instance",
        "Docker image",
        "job be called",
        "versions of Amazon's image",
        "input channels",
        "metrics",
        "precision",
        "dynamo",
        "Save these answers",
    ):
        person.answer(question, ENTER)


def test_the_wizard_makes_it_with_keys_that_it_forgets(iam: Any, nobody: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    person = wizard(path, nobody)
    person.child.expect_exact("Each launch needs the keys")
    person.child.expect_exact("Launching needs the SageMaker SDK")
    person.child.expect_exact("each launch needs --image_uri, or --pytorch_version")
    person.child.expect_exact(f"The role was created: {ARN}")
    assert person.end() == 0
    found = yaml.safe_load(path.read_text())
    assert (found["iam_role_name"], found["region"], "profile" in found) == (NAME, "eu-west-1", False)
    assert iam.get_role(RoleName=NAME)["Role"]["Arn"] == ARN
    assert "hidden" not in (person.seen.getvalue() + path.read_text()).lower()


@pytest.mark.exhaustive
def test_a_role_that_cant_be_made_costs_no_answer(nobody: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    person = wizard(path, {**nobody, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    person.child.expect_exact(f"{NAME} wasn't made: creating the role {NAME}: the service can't be reached")
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
