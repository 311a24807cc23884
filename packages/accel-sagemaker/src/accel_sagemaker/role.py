"""The role that jobs run as, made for whoever has none: the wizard of accel-config finds this by its entry point."""

from __future__ import annotations

import os

from . import credentials
from .refusals import Refusal, told
from .training import client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_config.settings import Settings

EXISTS = "EntityAlreadyExists"
VERSION = "2012-10-17"
TRUST = {
    "Version": VERSION,
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
ACTIONS = (
    "sagemaker:*",
    "ecr:GetAuthorizationToken",
    "ecr:BatchCheckLayerAvailability",
    "ecr:GetDownloadUrlForLayer",
    "ecr:BatchGetImage",
    "cloudwatch:PutMetricData",
    "cloudwatch:GetMetricData",
    "cloudwatch:GetMetricStatistics",
    "logs:CreateLogGroup",
    "logs:CreateLogStream",
    "logs:DescribeLogStreams",
    "logs:GetLogEvents",
    "logs:PutLogEvents",
    "s3:CreateBucket",
    "s3:ListBucket",
    "s3:GetBucketLocation",
    "s3:GetObject",
    "s3:PutObject",
)
POLICY = {"Version": VERSION, "Statement": [{"Effect": "Allow", "Action": [*ACTIONS], "Resource": "*"}]}


def make(settings: Settings) -> list[str]:
    """Make the role that the settings name, with their credentials; return what is to be told of it.

    A role of that name that is there is used as it is, and only given its rights where it has none at all.

    Raises:
        AccelError: it can't be made, by the credentials or at all.
    """
    name = str(settings.value("iam_role_name").value)
    signed, notes = credentials.find(settings, os.environ)
    iam = client(signed.session(credentials.region(settings, signed, os.environ)), "iam")
    said = [f"note: {note}" for note in notes]
    with told(f"making the role {name}"):
        arn, new = _role(iam, name)
        if new or not _rights(iam, name):
            _allow(iam, name)
    return [*said, f"The role is {'made' if new else 'there already'}: {arn}"]


def _role(iam: Any, name: str) -> tuple[str, bool]:
    """Return the role's ARN, and whether it is new."""
    import json

    try:
        with told(f"making the role {name}"):
            made = iam.create_role(
                RoleName=name,
                AssumeRolePolicyDocument=json.dumps(TRUST),
                Description="What SageMaker training jobs of accelerate run as.",
            )
            return made["Role"]["Arn"], True
    except Refusal as error:
        if error.code != EXISTS:
            raise
    return iam.get_role(RoleName=name)["Role"]["Arn"], False


def _rights(iam: Any, name: str) -> bool:
    """Whether the role may do anything; not where a run was cut off between making it and this."""
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    return bool(attached or iam.list_role_policies(RoleName=name)["PolicyNames"])


def _allow(iam: Any, name: str) -> None:
    import json

    iam.put_role_policy(RoleName=name, PolicyName=f"{name}_policy_permission", PolicyDocument=json.dumps(POLICY))
