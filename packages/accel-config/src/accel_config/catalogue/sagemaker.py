"""Amazon SageMaker jobs."""

from ..origin import TO_BE_MADE
from ..section import Section, setting

# What data parallelism runs on.
DATA_PARALLEL_INSTANCES = ("ml.p3.16xlarge", "ml.p3dn.24xlarge", "ml.p4dn.24xlarge")

LONG_TERM = "AKIA"
"""What the id of a key begins with that has no session token."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Settings


def _data_parallel(settings: "Settings") -> bool:
    return settings.value("distributed_type").value == "DATA_PARALLEL"


def _keys_needed(settings: "Settings") -> bool:
    """Whether the wizard is to call Amazon without a profile to sign in with."""
    made = settings.value("iam_role_name").origin == TO_BE_MADE
    return made and settings.value("profile").value is None


class SageMaker(
    Section,
    title="Amazon SageMaker",
    active=lambda settings: settings.value("compute_environment").value == "AMAZON_SAGEMAKER",
    scope="job",
):
    """The training job, in force with ``compute_environment: AMAZON_SAGEMAKER``."""

    profile: str | None = setting(
        gate="Do you sign in with an AWS profile (no: with a pair of keys, given when launching)?",
        gate_default=True,
        declined="launch needs the keys each time: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in its environment "
        "(for temporary keys AWS_SESSION_TOKEN too)",
        ask="Which AWS profile should be used?",
        ask_default="default",
        help="AWS profile to take credentials from.",
    )
    region: str = setting(
        "us-east-1",
        ask="In which AWS region?",
        help="AWS region of the job. Without it: AWS_REGION, AWS_DEFAULT_REGION, the profile's own.",
    )
    iam_role_name: str | None = setting(
        gate="Is there an IAM role for the job already (no: one is made now)?",
        gate_default=True,
        made="accelerate_sagemaker_execution_role",
        ask="What is the IAM role name or ARN for the job?",
        help="Role that the job runs as: a name or an ARN.",
    )
    aws_access_key_id: str | None = setting(
        key=None,
        secret=True,
        asked=_keys_needed,
        ask="What is the id of the AWS access key to make the role with? (It is kept nowhere.)",
        help="Key id to sign in to AWS with. Better: a profile, or the variable of that name.",
    )
    aws_secret_access_key: str | None = setting(
        key=None,
        secret=True,
        asked=_keys_needed,
        ask="What is the secret access key that belongs to it?",
        help="Secret key to sign in to AWS with. Better: a profile, or the variable of that name.",
    )
    aws_session_token: str | None = setting(
        key=None,
        secret=True,
        asked=lambda settings: (
            _keys_needed(settings) and not str(settings[SageMaker].aws_access_key_id).startswith(LONG_TERM)
        ),
        ask="What is the session token of these temporary keys?",
        help="Token of temporary keys. Better: a profile, or the variable of that name.",
    )
    ec2_instance_type: str | None = setting(
        offered=lambda settings: DATA_PARALLEL_INSTANCES if _data_parallel(settings) else (),
        ask="Which EC2 instance type do you want to use for your training?",
        ask_default=lambda settings, _machine: (
            DATA_PARALLEL_INSTANCES[0] if _data_parallel(settings) else "ml.p3.2xlarge"
        ),
        help="Instance type of the job, such as ml.p4d.24xlarge.",
    )
    image_uri: str | None = setting(
        gate="Do you want to use a custom Docker image?",
        ask="What is the address of your Docker image?",
        help="Image of the job. Unset: one for the versions below.",
    )
    base_job_name: str = setting(
        "accelerate-sagemaker-1",
        ask="What should the job be called?",
        ask_default=lambda settings, _machine: f"accelerate-sagemaker-{settings.value('num_machines').value}",
        help="What the job's name begins with.",
    )
    pytorch_version: str = setting("1.10.2", help="PyTorch version of the job's image.")
    transformers_version: str = setting(
        "4.17.0", help="transformers version of the job's image. none: an image with PyTorch alone, also for CPUs."
    )
    py_version: str = setting("py38", help="Python version of the job's image.")
    sagemaker_inputs_file: str | None = setting(
        gate="Do you want to provide SageMaker input channels with data?",
        ask="Where is the file of inputs (TSV: channel name, data location)?",
        help="Inputs of the job: a TSV file with a heading, of channel names and data locations.",
    )
    sagemaker_metrics_file: str | None = setting(
        gate="Do you want to enable SageMaker metrics?",
        ask="Where is the file of metrics (TSV: metric name, regular expression)?",
        help="Metrics of the job: a TSV file with a heading, of metric names and regular expressions.",
    )
    additional_args: dict[str, object] | None = setting(
        flag=False, help="Further arguments of the job's estimator, merged over what the other settings give."
    )
    sagemaker_job_name: str | None = setting(
        key=None,
        help="The job's whole name, which no job of the account may have had. Unset: base_job_name and the time.",
    )
    sagemaker_max_run: int = setting(86400, minimum=1, ours=True, help="Seconds that the job may train.")
    sagemaker_spot: bool = setting(
        False, switch=True, ours=True, help="Train on spot instances, which are cheaper and may be taken away."
    )
    sagemaker_max_wait: int | None = setting(
        minimum=1,
        ours=True,
        help="Seconds that a job on spot instances may take with all its waiting. Unset: as sagemaker_max_run.",
    )
    sagemaker_volume_size: int = setting(30, minimum=1, ours=True, help="Gigabytes of each instance's disk.")
    sagemaker_tags: tuple[str, ...] = setting(
        (), ours=True, help="A tag of the job, KEY=VALUE; the flag may be given several times."
    )
    sagemaker_source_limit: int = setting(
        200, minimum=1, ours=True, help="Megabytes that the script's folder may have before it is packed."
    )
    sagemaker_poll_interval: float = setting(
        5.0, minimum=0, ours=True, help="Seconds between two looks at the job and its logs."
    )
    wait: bool = setting(
        True,
        off="--no_wait",
        switch=True,
        ours=True,
        help="Follow a SageMaker job to its end and exit with its status; else return once it is submitted.",
    )
