"""Submitting a job: the account, the role, the bucket, the bundle, the job. A refused job leaves little behind."""

from __future__ import annotations

from accel_config.errors import INTERRUPTED, AccelError
from accel_config.record import Record
from accel_sagemaker.service.refusals import DENIED, Refusal, calling
from accel_sagemaker.service.training import TrainingJob, client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_sagemaker.building.request import JobRequest


class Submitted(Record):
    """A job that the service has accepted."""

    name: str
    """The job's name."""
    region: str
    """Its AWS region."""
    arn: str
    """Its ARN."""
    bundle: str
    """The address of its source."""
    console: str
    """The address of its page in the console."""


def submit(request: JobRequest) -> Submitted:
    """Upload the bundle and create the job.

    Raises:
        AccelError: a call fails; the message says what to do, and which bundle is left behind.
    """
    session = request.credentials.session(request.region)
    account = _account(session)
    filled = request.filled(account, _role(session, request, account))
    job = TrainingJob(request.name, request.region, request.credentials)
    _unused(job)
    archive = request.bundle.pack()
    for address in (filled.upload, filled.body["OutputDataConfig"]["S3OutputPath"]):
        _ready(session, _bucket(address), request.region, account)
    service = client(session, "sagemaker")
    try:
        _upload(session, filled.upload, archive, account)
        arn = _create(service, filled)
    except KeyboardInterrupt:
        raise AccelError(
            f"interrupted while submitting; check with 'accelerate sagemaker status {job.words}' whether the job "
            f"exists. The bundle may be at {filled.upload}",
            status=INTERRUPTED,
        ) from None
    return Submitted(request.name, request.region, arn, filled.upload, job.console)


def _create(service: Any, filled: JobRequest) -> str:
    """Create the job, and return its ARN."""
    try:
        with calling(f"submitting job {filled.name} in {filled.region}"):
            return service.create_training_job(**filled.body)["TrainingJobArn"]
    except Refusal as error:
        raise Refusal(str(error), f"the bundle is still at {filled.upload}", code=error.code) from None


def _account(session: Any) -> str:
    with calling("signing in to AWS"):
        return client(session, "sts").get_caller_identity()["Account"]


def _unused(job: TrainingJob) -> None:
    """Check that no job has this name: our bundle would replace that job's bundle.

    Raises:
        AccelError: a job has the name.
    """
    try:
        job.describe()
    except Refusal:
        return  # there is no such job, or access is denied, which submitting will report
    raise AccelError(f"job {job.name} already exists in {job.region}; give another --sagemaker_job_name, or none")


def _role(session: Any, request: JobRequest, account: str) -> str:
    """Return the ARN of the role, which the service needs.

    Raises:
        AccelError: there is no such role, or it belongs to another account.
    """
    if request.account is not None:
        if request.account != account:
            raise AccelError(
                f"the role {request.role} isn't in the account of the credentials, {account}; give a role of this "
                "account, or another --profile"
            )
        return request.role
    name = request.role.rpartition("/")[2]
    try:
        with calling(f"looking up the role {name}"):
            return client(session, "iam").get_role(RoleName=name)["Role"]["Arn"]
    except Refusal as error:
        if error.code == "NoSuchEntity":
            raise AccelError(
                f"account {account} has no role {name}; give a role of this account with --iam_role_name, or create "
                "one that sagemaker.amazonaws.com may assume"
            ) from None
        if error.code in DENIED:
            raise Refusal(
                f"{error}. Give the role's ARN instead of its name to avoid this lookup", code=error.code
            ) from None
        raise


def _bucket(address: str) -> str:
    return address.removeprefix("s3://").partition("/")[0]


def _ready(session: Any, bucket: str, region: str, account: str) -> None:
    """Create SageMaker's default bucket if it doesn't exist; any other bucket must exist."""
    if bucket != f"sagemaker-{region}-{account}":
        return
    s3 = client(session, "s3")
    try:
        with calling(f"looking for the bucket {bucket}"):
            # Its name can be guessed, so another account may own it, to read what is uploaded.
            s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
        return
    except Refusal as error:
        if error.code != "404":
            raise
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    with calling(f"creating the bucket {bucket}"):
        s3.create_bucket(Bucket=bucket, **place)


def _upload(session: Any, address: str, archive: bytes, account: str) -> None:
    bucket = _bucket(address)
    owner = {"ExpectedBucketOwner": account} if bucket.endswith(f"-{account}") else {}
    with calling(f"uploading the bundle to {address}"):
        client(session, "s3").put_object(
            Bucket=bucket, Key=address.removeprefix(f"s3://{bucket}/"), Body=archive, **owner
        )
