"""Asking for a job: the account, the role, the bucket, the bundle, the job. Little is left of one that is refused."""

from __future__ import annotations

from accel_config.errors import AccelError
from accel_config.record import Record

from .refusals import DENIED, Refusal, told
from .training import TrainingJob, client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .request import JobRequest


class Submitted(Record):
    """A job that the service has taken."""

    name: str
    region: str
    arn: str
    bundle: str
    """The address of its source."""
    console: str
    """The address of its page."""


def submit(request: JobRequest) -> Submitted:
    """Upload the bundle and ask for the job.

    Raises:
        AccelError: something refuses; the message says what, the way out, and which bundle is left behind.
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
            f"interrupted while submitting: see with 'accelerate sagemaker status {job.words}' whether the job "
            f"is there; the bundle may be at {filled.upload}",
            status=130,
        ) from None
    return Submitted(request.name, request.region, arn, filled.upload, job.console)


def _create(service: Any, filled: JobRequest) -> str:
    """Ask for the job, and return its ARN."""
    try:
        with told(f"submitting job {filled.name} in {filled.region}"):
            return service.create_training_job(**filled.body)["TrainingJobArn"]
    except Refusal as error:
        raise Refusal(f"{error}\nthe bundle stays at {filled.upload}", error.code) from None


def _account(session: Any) -> str:
    with told("signing in to AWS"):
        return client(session, "sts").get_caller_identity()["Account"]


def _unused(job: TrainingJob) -> None:
    """Refuse a name that a job has: our bundle would take the place of the one that it is to run, or has run."""
    try:
        job.describe()
    except Refusal:
        return  # there is none, or it may not be looked at; then submitting will tell
    raise AccelError(f"there is a job {job.name} in {job.region} already: give another --sagemaker_job_name, or none")


def _role(session: Any, request: JobRequest, account: str) -> str:
    """Return the ARN of the role, which the service wants."""
    if request.account is not None:
        if request.account != account:
            raise AccelError(
                f"the role {request.role} belongs to another account than the credentials, whose is {account}: "
                "give a role of this account, or another --profile"
            )
        return request.role
    name = request.role.rpartition("/")[2]
    try:
        with told(f"looking up the role {name}"):
            return client(session, "iam").get_role(RoleName=name)["Role"]["Arn"]
    except Refusal as error:
        if error.code == "NoSuchEntity":
            raise AccelError(
                f"there is no role {name} in account {account}: give a role of this account with --iam_role_name, "
                "or make one that sagemaker.amazonaws.com may assume"
            ) from None
        if error.code in DENIED:
            raise Refusal(
                f"{error}. With the role's ARN in place of its name nothing is looked up", error.code
            ) from None
        raise


def _bucket(address: str) -> str:
    return address.removeprefix("s3://").partition("/")[0]


def _ready(session: Any, bucket: str, region: str, account: str) -> None:
    """Make SageMaker's default bucket if it isn't there; any other bucket is the user's own affair."""
    if bucket != f"sagemaker-{region}-{account}":
        return
    s3 = client(session, "s3")
    try:
        with told(f"looking for the bucket {bucket}"):
            # Its name can be guessed, so someone else may have taken it to read what is uploaded.
            s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
        return
    except Refusal as error:
        if error.code != "404":
            raise
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    with told(f"making the bucket {bucket}"):
        s3.create_bucket(Bucket=bucket, **place)


def _upload(session: Any, address: str, archive: bytes, account: str) -> None:
    bucket = _bucket(address)
    owner = {"ExpectedBucketOwner": account} if bucket.endswith(f"-{account}") else {}
    with told(f"uploading the bundle to {address}"):
        client(session, "s3").put_object(
            Bucket=bucket, Key=address.removeprefix(f"s3://{bucket}/"), Body=archive, **owner
        )
