"""The IAM role of jobs, created on request: the wizard of accel-config finds this by its entry point."""

from __future__ import annotations

import os

from accel_sagemaker.service import credentials, policy
from accel_sagemaker.service.refusals import Refusal, calling
from accel_sagemaker.service.training import client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_config.settings.resolved import Settings

EXISTS = "EntityAlreadyExists"


def make(settings: Settings) -> list[str]:
    """Create the role that the settings name, with their credentials; return lines to print.

    An existing role of that name is used as it is. It receives the permissions only if it has none at all.

    Raises:
        AccelError: the role can't be created.
    """
    name = str(settings.value("iam_role_name").value)
    signed, notes = credentials.find(settings, os.environ)
    region = credentials.region(settings, signed, os.environ)
    iam = client(signed.session(region), "iam")
    with calling(f"creating the role {name}"):
        arn, new = _role(iam, name)
        if new or not _permitted(iam, name):
            _permit(iam, name, policy.document(settings, arn, region))
    return [*(f"note: {note}" for note in notes), f"The role {'was created' if new else 'already exists'}: {arn}"]


def _role(iam: Any, name: str) -> tuple[str, bool]:
    """Return the role's ARN, and whether it is new."""
    import json

    try:
        with calling(f"creating the role {name}"):
            created = iam.create_role(
                RoleName=name,
                AssumeRolePolicyDocument=json.dumps(policy.TRUST),
                Description="The role of SageMaker training jobs of accelerate.",
            )
            return created["Role"]["Arn"], True
    except Refusal as error:
        if error.code != EXISTS:
            raise
    return iam.get_role(RoleName=name)["Role"]["Arn"], False


def _permitted(iam: Any, name: str) -> bool:
    """Whether the role has any permission. It has none if an earlier run was interrupted after creating it."""
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    return bool(attached or iam.list_role_policies(RoleName=name)["PolicyNames"])


def _permit(iam: Any, name: str, document: dict[str, Any]) -> None:
    import json

    iam.put_role_policy(RoleName=name, PolicyName=f"{name}_policy_permission", PolicyDocument=json.dumps(document))
