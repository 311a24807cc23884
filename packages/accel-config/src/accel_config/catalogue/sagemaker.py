"""Jobs on Amazon SageMaker."""

from accel_config.settings.declaration import Section, setting
from accel_config.settings.origin import TO_BE_MADE
from accel_config.settings.question import Question
from accel_config.settings.readers import Duration

# The instance types that support data parallelism.
DATA_PARALLEL_INSTANCES = ("ml.p4d.24xlarge", "ml.p3dn.24xlarge", "ml.p3.16xlarge")
INSTANCE = "ml.g5.2xlarge"  # one GPU that new images of PyTorch still support
"""The type that is proposed for other jobs."""

LONG_TERM = "AKIA"
"""The beginning of the id of a key without a session token."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.values import Values


def _data_parallel(settings: "Values") -> bool:
    return settings.value("distributed_type").value == "DATA_PARALLEL"


def _keys_needed(settings: "Values") -> bool:
    """Return whether the wizard must call AWS without a profile to sign in with."""
    made = settings.value("iam_role_name").origin == TO_BE_MADE
    return made and settings.value("profile").value is None


def _token_needed(settings: "Values") -> bool:
    return _keys_needed(settings) and not str(settings[SageMaker].aws_access_key_id).startswith(LONG_TERM)


def _searched(settings: "Values") -> bool:
    """Return whether the SDK must find the image."""
    return settings.value("image_uri").value is None


def _versioned(settings: "Values") -> bool:
    return _searched(settings) and settings.value("pytorch_version").value is not None


NO_IMAGE = (
    "Launching needs the SageMaker SDK, which finds Amazon's image for the versions: "
    "{command} (an image's address in image_uri needs no SDK)"
)
NO_VERSION = "The file names no image yet: each launch needs --image_uri, or --pytorch_version"


class SageMaker(
    Section,
    title="Amazon SageMaker",
    active=lambda settings: settings.value("compute_environment").value == "AMAZON_SAGEMAKER",
    scope="job",
):
    """The training job, in force with ``compute_environment: AMAZON_SAGEMAKER``."""

    profile: str | None = setting(
        metavar="NAME",
        help="AWS profile to take credentials from.",
        ask=Question(
            "Which AWS profile should be used?",
            default="default",
            gate="Do you sign in with an AWS profile (no: with a pair of keys, set for each launch)?",
            gate_default=True,
            declined="Each launch needs the keys in its environment: AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (for temporary keys also AWS_SESSION_TOKEN)",
        ),
    )
    region: str = setting(
        "us-east-1",
        metavar="NAME",
        help="AWS region of the job. AWS_REGION, AWS_DEFAULT_REGION and the region of the profile come "
        "before the default.",
        ask=Question("Which AWS region do you want to use?"),
    )
    iam_role_name: str | None = setting(
        metavar="ROLE",
        help="Role that the job runs as: a name or an ARN.",
        ask=Question(
            "What is the IAM role name or ARN for the job?",
            gate="Is there already an IAM role for the job (no: the wizard makes one)?",
            gate_default=True,
            made="accelerate_sagemaker_execution_role",
        ),
    )
    aws_access_key_id: str | None = setting(
        key=None,
        secret=True,
        metavar="ID",
        help="Id of the key to sign in to AWS with. Prefer a profile, or the variable AWS_ACCESS_KEY_ID.",
        ask=Question(
            "What is the id of the AWS access key to make the role with? (It isn't stored.)", when=_keys_needed
        ),
    )
    aws_secret_access_key: str | None = setting(
        key=None,
        secret=True,
        metavar="KEY",
        help="Secret key to sign in to AWS with. Prefer a profile, or the variable AWS_SECRET_ACCESS_KEY.",
        ask=Question("What is the secret access key of this id?", when=_keys_needed),
    )
    aws_session_token: str | None = setting(
        key=None,
        secret=True,
        metavar="TOKEN",
        help="Token of temporary keys. Prefer a profile, or the variable AWS_SESSION_TOKEN.",
        ask=Question("What is the session token of these temporary keys?", when=_token_needed),
    )
    ec2_instance_type: str | None = setting(
        metavar="TYPE",
        help="Instance type of the job, such as `ml.p4d.24xlarge`.",
        ask=Question(
            "Which EC2 instance type do you want to use?",
            default=lambda settings, _machine: DATA_PARALLEL_INSTANCES[0] if _data_parallel(settings) else INSTANCE,
            offered=lambda settings: DATA_PARALLEL_INSTANCES if _data_parallel(settings) else (),
        ),
    )
    image_uri: str | None = setting(
        metavar="IMAGE",
        default_text="the image for the versions below",
        help="Container image of the job.",
        ask=Question(
            "What is the address of your Docker image?",
            gate="Do you want to use a custom Docker image?",
            declined=NO_IMAGE,
            lacking="accel-sagemaker[sagemaker]",
        ),
    )
    base_job_name: str = setting(
        "accelerate-sagemaker-1",
        metavar="NAME",
        help="Beginning of the job's name.",
        ask=Question(
            "What should the job be called?",
            default=lambda settings, _machine: f"accelerate-sagemaker-{settings.value('num_machines').value}",
        ),
    )
    pytorch_version: str | None = setting(
        metavar="VERSION",
        help="PyTorch version of the job's image. Amazon withdraws images with time, so there is no default.",
        ask=Question(
            "Which PyTorch version should the image have, in full (such as 2.6.0)?",
            when=_searched,
            gate="Do you want to name the versions of Amazon's image now?",
            declined=NO_VERSION,
        ),
    )
    transformers_version: str | None = setting(
        metavar="VERSION",
        default_text="an image with PyTorch alone",
        help="Version of transformers in the job's image; `none` takes an image with PyTorch alone, "
        "which also runs on CPUs.",
        ask=Question(
            "Which version of transformers should the image have?",
            when=_versioned,
            gate="Should the image have transformers (it then needs a GPU)?",
        ),
    )
    py_version: str | None = setting(
        metavar="VERSION", default_text="the image's", help="Python version of the job's image, such as `py312`."
    )
    sagemaker_inputs_file: str | None = setting(
        metavar="FILE",
        help="Inputs of the job: a TSV file with a heading, of channel names and data locations.",
        ask=Question(
            "Where is the file of inputs (TSV: channel name, data location)?",
            gate="Do you want to pass data to the job (SageMaker input channels)?",
        ),
    )
    sagemaker_metrics_file: str | None = setting(
        metavar="FILE",
        help="Metrics of the job: a TSV file with a heading, of metric names and regular expressions.",
        ask=Question(
            "Where is the file of metrics (TSV: metric name, regular expression)?",
            gate="Do you want to enable SageMaker metrics?",
        ),
    )
    additional_args: dict[str, object] | None = setting(
        flag=False, help="Further arguments of the job's estimator. They win over the other settings."
    )
    sagemaker_job_name: str | None = setting(
        key=None,
        metavar="NAME",
        default_text="base_job_name and the time",
        help="Whole name of the job, which must be new in the account.",
    )
    sagemaker_max_run: Duration = setting(
        Duration.read("1d"), minimum=1, ours=True, help="Time that the job may train."
    )
    sagemaker_spot: bool = setting(
        False, switch=True, ours=True, help="Train on spot instances, which are cheaper and can be interrupted."
    )
    sagemaker_max_wait: Duration | None = setting(
        minimum=1,
        ours=True,
        default_text="sagemaker_max_run",
        help="Time that a job on spot instances may take, waiting included.",
    )
    sagemaker_volume_size: int = setting(30, minimum=1, ours=True, metavar="GB", help="Disk size of each instance.")
    sagemaker_tags: tuple[str, ...] = setting(
        (), ours=True, metavar="KEY=VALUE", help="Tag of the job. Can be repeated."
    )
    sagemaker_source_limit: int = setting(
        200, minimum=1, ours=True, metavar="MB", help="Largest size of the script's folder before it is packed."
    )
    sagemaker_poll_interval: Duration = setting(
        Duration.read("5s"), minimum=0, ours=True, help="Time between two checks of the job and its logs."
    )
    wait: bool = setting(
        True,
        off="--no_wait",
        switch=True,
        ours=True,
        help="Follow a SageMaker job to its end and exit with its status; `--no_wait` returns after "
        "the job is submitted.",
    )
