"""What the role of a job may do: pull its image, write its logs and metrics, and use its buckets. Nothing else.

A training job calls no other service by itself. Resources are named as far as Amazon lets them be: a login to the
registry and a metric have no name, so that the latter is bound by its namespace.
"""

from __future__ import annotations

import os
import re

from accel_config.errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from accel_config.settings.resolved import Settings

VERSION = "2012-10-17"
TRUST = {
    "Version": VERSION,
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
REGISTRY = "763104351884"
"""The account of Amazon's images for training in most regions; `REGISTRIES` has the others."""
REGISTRIES = {
    **{"af-south-1": "626614931356", "ap-east-1": "871362719292", "ap-east-2": "975050140332"},
    **{"ap-northeast-3": "364406365360", "ap-south-2": "772153158452", "ap-southeast-3": "907027046896"},
    **{"ap-southeast-4": "457447274322", "ap-southeast-5": "550225433462", "ap-southeast-6": "633930458069"},
    **{"ap-southeast-7": "590183813437", "ca-west-1": "204538143572", "cn-north-1": "727897471807"},
    **{"cn-northwest-1": "727897471807", "eu-central-2": "380420809688", "eu-south-1": "692866216735"},
    **{"eu-south-2": "503227376785", "eusc-de-east-1": "204133271717", "il-central-1": "780543022126"},
    **{"me-central-1": "914824155844", "me-south-1": "217643126080", "me-west-1": "124382933778"},
    **{"mx-central-1": "637423239942", "us-gov-east-1": "446045086412", "us-gov-west-1": "442386744353"},
}
REPOSITORIES = ("pytorch-training", "huggingface-pytorch-training")
"""Amazon's repositories of images that `building.image` finds."""
GROUP = "/aws/sagemaker/TrainingJobs"
PULL = ("ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage")
LOG = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents")
LOOK = ("s3:ListBucket", "s3:GetBucketLocation")
_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.[a-z0-9.]+/([^:@]+)")


def document(settings: Settings, arn: str, region: str) -> dict[str, Any]:
    """Return the policy for the role with this ARN, for jobs of the settings in a region."""
    _arn, partition, _iam, _region, account, _name = arn.split(":", 5)
    mine = f"sagemaker-{region}-{account}"
    written = {mine, *_buckets(_values(settings.value("additional_args").value))}
    read = set(_buckets(_inputs(settings))) - written
    logs = f"arn:{partition}:logs:{region}:{account}:log-group:{GROUP}"
    return {
        "Version": VERSION,
        "Statement": [
            _allow(("ecr:GetAuthorizationToken",), "*"),
            _allow(PULL, *_repositories(settings, partition, region, account)),
            _allow(LOG, logs, f"{logs}:*"),
            {
                **_allow(("cloudwatch:PutMetricData",), "*"),
                "Condition": {"StringLike": {"cloudwatch:namespace": "/aws/sagemaker/*"}},
            },
            _allow(LOOK, *(f"arn:{partition}:s3:::{name}" for name in sorted(written | read))),
            _allow(
                ("s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"),
                *(f"arn:{partition}:s3:::{name}/*" for name in sorted(written)),
            ),
            *(
                [_allow(("s3:GetObject",), *(f"arn:{partition}:s3:::{name}/*" for name in sorted(read)))]
                if read
                else []
            ),
        ],
    }


def _allow(actions: tuple[str, ...], *resources: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": [*actions], "Resource": [*resources]}


def _repositories(settings: Settings, partition: str, region: str, account: str) -> Iterator[str]:
    """Yield the ARNs of the repositories with the job's image: the one that is named, or Amazon's and our own."""
    image = _IMAGE.match(str(settings.value("image_uri").value or ""))
    if image is not None:
        yield f"arn:{partition}:ecr:{image[2]}:{image[1]}:repository/{image[3]}"
        return
    registry = REGISTRIES.get(region, REGISTRY)
    yield from (f"arn:{partition}:ecr:{region}:{registry}:repository/{name}" for name in REPOSITORIES)
    yield f"arn:{partition}:ecr:{region}:{account}:repository/*"


def _values(value: object) -> Iterator[str]:
    """Yield the texts in a value, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():  # pyright: ignore[reportUnknownVariableType]
            yield from _values(item)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, (list, tuple)):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _values(item)  # pyright: ignore[reportUnknownArgumentType]


def _inputs(settings: Settings) -> Iterator[str]:
    """Yield the addresses in the job's table of inputs, as far as it can be read by now."""
    from pathlib import Path

    from accel_sagemaker.building import tables

    named = settings.value("sagemaker_inputs_file").value
    path = Path(os.path.expanduser(str(named))) if named else None  # noqa: PTH111
    if path is not None and path.is_file():
        try:
            yield from _values(tables.channels(path))
        except AccelError:
            return


def _buckets(addresses: Iterable[str]) -> Iterator[str]:
    """Yield the buckets of the addresses that are in S3."""
    for address in addresses:
        bucket = address.removeprefix("s3://").partition("/")[0]
        if address.startswith("s3://") and re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
            yield bucket
