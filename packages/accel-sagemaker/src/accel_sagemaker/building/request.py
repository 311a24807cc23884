"""The request for a training job: what CreateTrainingJob receives, and the bundle that goes with it."""

from __future__ import annotations

import json
import re

from accel_config.record import Record
from accel_config.showing import masking
from accel_config.showing.wording import line
from accel_launch.planning.quoting import quote
from accel_sagemaker.building import bundle as source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_sagemaker.service import credentials

ACCOUNT = "<account>"
"""Stands in addresses for the account's number, which only the service knows if the role is just a name."""


class JobRequest(Record):
    """A training job, ready to be submitted."""

    name: str
    """The job's name."""
    region: str
    """Its AWS region."""
    role: str
    """A name or an ARN."""
    body: dict[str, Any]
    """The parameters of CreateTrainingJob, with `ACCOUNT` and a placeholder for the ARN of a role that is a name."""
    bundle: source.Bundle
    """The source archive."""
    upload: str
    """The address of the packed bundle."""
    credentials: credentials.Credentials
    """The credentials to sign in with; never printed."""
    wait: bool = True
    """Whether to follow the job to its end."""
    poll: float = 5.0
    """Seconds between two requests for the job's status."""
    notes: tuple[str, ...] = ()
    """Notes to print before the job is submitted."""

    @property
    def account(self) -> str | None:
        """The number of the role's account, or None if the role is just a name."""
        found = re.match(r"arn:[^:]*:iam::(\d{12}):", self.role)
        return found.group(1) if found else None

    def filled(self, account: str, role: str) -> JobRequest:
        """Return the request with the account's number and the role's ARN in all places."""
        body = _replaced({**self.body, "RoleArn": role}, account)
        return self.replace(body=body, upload=self.upload.replace(ACCOUNT, account), role=role)

    def text(self) -> str:
        """Return the bundle as comments and the request as a command of Amazon's own client."""
        files = [*self.bundle.files, *(source.Source(name, 0) for name in (source.ENTRY, source.PROGRAM))]
        lines = [
            f"# bundle: {line(_counted(self.bundle))}, and two files of accel-sagemaker;",
            f"# launch packs it and uploads it to {line(self.upload)}:",
            *(f"#   {line(file.name)}" + (f" {file.size}" if file.size else "") for file in files),
        ]
        body = quote(json.dumps(_masked(self.body), indent=2))
        return "\n".join(
            [*lines, f"aws sagemaker create-training-job --region {quote(self.region)} --cli-input-json {body}"]
        )

    def data(self) -> dict[str, object]:
        """Return the request and its bundle for JSON."""
        files = [{"name": file.name, "size": file.size} for file in self.bundle.files]
        files += [{"name": name, "size": None} for name in (source.ENTRY, source.PROGRAM)]
        return {
            "service": "sagemaker",
            "operation": "CreateTrainingJob",
            "region": self.region,
            "body": _masked(self.body),
            "bundle": {"root": self.bundle.root, "address": self.upload, "files": files},
        }


def _replaced(value: Any, account: str) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(item, account) for name, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_replaced(item, account) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value.replace(ACCOUNT, account) if isinstance(value, str) else value


def _masked(body: dict[str, Any]) -> dict[str, Any]:
    """Return the request without the values of variables whose names mark them as secrets."""
    return {**body, "Environment": masking.environment(body["Environment"])}


def _counted(bundle: source.Bundle) -> str:
    count, size = len(bundle.files), bundle.size
    return f"{count} file{'s' * (count != 1)} of {bundle.root}, {size} byte{'s' * (size != 1)}"
