"""From settings to the request: pure, but for the folder that is looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accel_config import AccelError
from accel_launch import Host, plan
from accel_sagemaker import JobRequest, job
from tests.conftest import Resolve

from .conftest import CONFIG
from .service import ACCOUNT

Make = Callable[..., JobRequest]


@pytest.fixture
def make(settings: Resolve, tmp_path: Path) -> Make:
    """Make the request for a script with arguments, from flags and lines added to the config."""

    def request(
        *flags: str,
        more: str = "",
        without: str = "",
        args: tuple[str, ...] = (),
        environ: dict[str, str] | None = None,
    ) -> JobRequest:
        config = "".join(f"{line}\n" for line in CONFIG.splitlines() if not without or not line.startswith(without))
        (tmp_path / "train.py").touch()
        resolved = settings(*flags, file=config + more)
        return job(resolved, "train.py", args, environ=environ or {}, folder=str(tmp_path))

    return request


def test_the_whole_request(make: Make) -> None:
    made = make("--sagemaker_job_name", "one", args=("--lr", "3e-5"))
    upload = f"s3://sagemaker-us-east-1-{ACCOUNT}/one/source/sourcedir.tar.gz"
    assert made.upload == upload
    assert made.body == {
        "TrainingJobName": "one",
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/train",
        "AlgorithmSpecification": {
            "TrainingInputMode": "File",
            "TrainingImage": f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/train:1",
        },
        "OutputDataConfig": {"S3OutputPath": f"s3://sagemaker-us-east-1-{ACCOUNT}/"},
        "ResourceConfig": {"InstanceType": "ml.p3.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
        "HyperParameters": {
            "lr": "3e-05",
            "sagemaker_program": '"accel_entry.py"',
            "sagemaker_submit_directory": f'"{upload}"',
            "sagemaker_container_log_level": "20",
            "sagemaker_job_name": '"one"',
            "sagemaker_region": '"us-east-1"',
        },
        "Environment": {
            "ACCELERATE_USE_SAGEMAKER": "true",
            "ACCELERATE_SAGEMAKER_DISTRIBUTED_TYPE": "NO",
            "ACCELERATE_MIXED_PRECISION": "bf16",
            "ACCELERATE_DYNAMO_BACKEND": "NO",
            "ACCELERATE_DYNAMO_MODE": "default",
            "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False",
            "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "False",
        },
    }


def test_what_the_library_reads_is_in_the_environment(make: Make) -> None:
    more = "debug: true\nuse_cpu: true\ndynamo_config: {dynamo_backend: INDUCTOR, dynamo_use_dynamic: false}\n"
    environment = make("--mixed_precision", "fp8", "--fp8_backend", "te", more=more).body["Environment"]
    assert environment["ACCELERATE_DYNAMO_BACKEND"] == "INDUCTOR"
    assert environment["ACCELERATE_DYNAMO_USE_DYNAMIC"] == "False"
    assert environment["ACCELERATE_DEBUG_MODE"] == "true"
    assert environment["ACCELERATE_USE_CPU"] == "True"
    assert environment["ACCELERATE_FP8_BACKEND"] == "TE"
    assert not [name for name in environment if not name.startswith("ACCELERATE_")], "nothing of this machine's"


def test_a_named_job_has_a_name_that_is_its_own(make: Make) -> None:
    made = make("--base_job_name", "My_job. " + "x" * 80)
    assert made.name.startswith("My-job-xxx")
    assert len(made.name) <= 63
    assert made.body["TrainingJobName"] == made.name
    assert made.name != make().name


def test_a_role_by_name_leaves_the_account_open(make: Make) -> None:
    made = make("--iam_role_name", "train", "--sagemaker_job_name", "one")
    assert made.body["RoleArn"] == "<ARN of role train>"
    assert made.upload == "s3://sagemaker-us-east-1-<account>/one/source/sourcedir.tar.gz"
    arn = f"arn:aws:iam::{ACCOUNT}:role/service-role/train"
    filled = made.filled(ACCOUNT, arn)
    assert filled.body["RoleArn"] == arn
    assert "<account>" not in json.dumps(filled.body) + filled.upload


@pytest.mark.parametrize(
    ("more", "place", "value"),
    [
        ("instance_count: 3", "ResourceConfig.InstanceCount", 3),
        ("volume_size: 100", "ResourceConfig.VolumeSizeInGB", 100),
        ("max_run: 60", "StoppingCondition.MaxRuntimeInSeconds", 60),
        ("instance_type: ml.g5.xlarge", "ResourceConfig.InstanceType", "ml.g5.xlarge"),
        ("output_path: s3://mine/out", "OutputDataConfig.S3OutputPath", "s3://mine/out"),
        ("enable_network_isolation: true", "EnableNetworkIsolation", True),
        ("subnets: [subnet-1]\n  security_group_ids: [sg-1]", "VpcConfig.Subnets", ["subnet-1"]),
        ("checkpoint_s3_uri: s3://mine/c", "CheckpointConfig.S3Uri", "s3://mine/c"),
        ("environment: {A: 1}", "Environment.A", "1"),
        ("tags: [{Key: a, Value: b}]", "Tags", [{"Key": "a", "Value": "b"}]),
        ("tags: [a=b=c]", "Tags", [{"Key": "a", "Value": "b=c"}]),
        ("max_retry_attempts: null", "RetryStrategy", None),
        ("hyperparameters: {lr: 0.1}", "HyperParameters.lr", "0.1"),
    ],
)
def test_additional_args_win(make: Make, more: str, place: str, value: object) -> None:
    found: Any = make("--sagemaker_job_name", "one", more=f"additional_args:\n  {more}\n").body
    for name in place.split("."):
        found = found.get(name) if found else None
    assert found == value


def test_hyperparameters_of_additional_args_reach_the_script_last(make: Make) -> None:
    made = make(more="additional_args: {hyperparameters: {lr: '007'}}\n", args=("--lr", "1"))
    assert made.bundle.program["arguments"] == ["--lr", "1", "--lr", "007"]


def test_tags_of_both_are_merged(make: Make) -> None:
    made = make("--sagemaker_tags", "a=1", "--sagemaker_tags", "b=1", more="additional_args: {tags: {b: 2}}\n")
    assert made.body["Tags"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]


def test_spot(make: Make) -> None:
    body = make("--sagemaker_spot", "--sagemaker_max_run", "100", "--sagemaker_max_wait", "1h").body
    assert body["EnableManagedSpotTraining"] is True
    assert body["StoppingCondition"] == {"MaxRuntimeInSeconds": 100, "MaxWaitTimeInSeconds": 3600}
    assert make("--sagemaker_spot").body["StoppingCondition"]["MaxWaitTimeInSeconds"] == 86400


@pytest.mark.parametrize(
    ("flags", "more", "start", "processes", "kind"),
    [
        ((), "", "process", None, "NO"),
        (("--nproc_per_node", "2"), "", "agent", 2, "NO"),
        (("--num_processes", "4", "--num_machines", "2"), "", "agent", 2, "NO"),
        (("--multi_gpu",), "", "agent", None, "NO"),
        (("--use_fsdp",), "", "agent", None, "NO"),
        (("--distributed_type", "DATA_PARALLEL"), "", "toolkit", None, "DATA_PARALLEL"),
        ((), "additional_args: {distribution: {torch_distributed: {enabled: true}}}\n", "toolkit", None, "NO"),
        ((), "additional_args: {distribution: {torch_distributed: {enabled: false}}}\n", "process", None, "NO"),
    ],
)
def test_how_the_processes_are_started(
    make: Make, flags: tuple[str, ...], more: str, start: str, processes: int | None, kind: str
) -> None:
    made = make(*flags, more=more)
    assert (made.bundle.program["start"], made.bundle.program["processes"]) == (start, processes)
    assert made.body["Environment"]["ACCELERATE_SAGEMAKER_DISTRIBUTED_TYPE"] == kind


@pytest.mark.parametrize(
    ("distribution", "keys"),
    [
        (
            "smdistributed: {dataparallel: {enabled: true, custom_mpi_options: -verbose}}",
            {
                "sagemaker_distributed_dataparallel_enabled": "true",
                "sagemaker_distributed_dataparallel_custom_mpi_options": '"-verbose"',
                "sagemaker_instance_type": '"ml.p3.2xlarge"',
            },
        ),
        (
            "mpi: {enabled: true, processes_per_host: 8}",
            {"sagemaker_mpi_enabled": "true", "sagemaker_mpi_num_of_processes_per_host": "8"},
        ),
        ("torch_distributed: {enabled: true}", {"sagemaker_torch_distributed_enabled": "true"}),
        ("pytorchddp: {enabled: true}", {"sagemaker_pytorch_ddp_enabled": "true"}),
    ],
)
def test_the_toolkit_is_asked_in_its_own_words(make: Make, distribution: str, keys: dict[str, str]) -> None:
    sent = make(more=f"additional_args: {{distribution: {{{distribution}}}}}\n").body["HyperParameters"]
    assert keys.items() <= sent.items()


def test_the_ranks_receive_the_settings_of_fsdp(make: Make) -> None:
    environment = make("--use_fsdp", "--fsdp_version", "2").body["Environment"]
    assert environment["ACCELERATE_USE_FSDP"] == "true"
    assert environment["FSDP_VERSION"] == "2"


def test_inputs_and_metrics(make: Make, tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_text("channel_name\tdata_location\ntrain\ts3://data/train\n\n")
    (tmp_path / "metrics.tsv").write_text("metric_name\tmetric_regex\nloss\tloss=([0-9.]+)\n")
    body = make("--sagemaker_inputs_file", "in.tsv", "--sagemaker_metrics_file", "metrics.tsv").body
    (channel,) = body["InputDataConfig"]
    assert channel["ChannelName"] == "train"
    assert channel["DataSource"]["S3DataSource"]["S3Uri"] == "s3://data/train"
    assert body["AlgorithmSpecification"]["MetricDefinitions"] == [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]


@pytest.mark.parametrize(
    ("flags", "more", "message"),
    [
        (("--module",), "", "module (--module) isn't possible on SageMaker"),
        (("--no_python",), "", "no_python (--no_python) isn't possible"),
        (("--python", "python3"), "", "the image has its own"),
        (("--use_deepspeed",), "", "DEEPSPEED (--use_deepspeed) isn't possible on SageMaker"),
        (("--ec2_instance_type", "ml.p3.2xlrge"), "", "Did you mean 'ml.p3.2xlarge'?"),
        (("--ec2_instance_type", "local"), "", "run the script on this machine with --engine local"),
        (("--sagemaker_job_name", "a_b"), "", "TrainingJobName must match"),
        (("--sagemaker_job_name", "a" * 64), "", "TrainingJobName has 64 characters, but at most 63 are valid"),
        (("--image_uri", "x" * 256), "", "AlgorithmSpecification.TrainingImage has 256 characters"),
        (("--sagemaker_tags", "a"), "", "--sagemaker_tags: a tag must be KEY=VALUE"),
        (("--sagemaker_max_wait", "5"), "", "spot instances only"),
        (("--sagemaker_spot", "--sagemaker_max_wait", "5"), "", "less than sagemaker_max_run 86400"),
        (("--sagemaker_inputs_file", "no.tsv"), "", "no.tsv doesn't exist"),
        (("--distributed_type", "MODEL_PARALLEL"), "", "needs its parameters; set additional_args"),
        (("--aws_access_key_id", "AKIAX"), "", "--aws_access_key_id is only one of two keys"),
        ((), "additional_args: {volume_sise: 3}", "Did you mean 'volume_size'?"),
        ((), "additional_args: {volume_size: big}", "additional_args.volume_size must be a whole number, not 'big'"),
        ((), "additional_args: {environment: {A B: 1}}", "Environment: the name 'A B' must match"),
        (
            (),
            "additional_args: {distribution: {horovod: {enabled: true}}}",
            "'horovod' isn't valid in additional_args.distribution",
        ),
        ((), "additional_args: {subnets: [s-1]}", "VpcConfig.SecurityGroupIds is missing"),
        ((), "additional_args: {source_dir: nowhere}", "isn't inside source_dir"),
        (
            (),
            "additional_args: {code_location: bucket/x}",
            "code_location must be an address s3://..., not 'bucket/x'",
        ),
        (
            (),
            "additional_args: {hyperparameters: {sagemaker_program: x}}",
            "hyperparameters can't have sagemaker_program",
        ),
        (
            ("--num_machines", "2:4", "--nproc_per_node", "2"),
            "",
            "num_machines 2:4 (--num_machines): a job has a fixed",
        ),
        (
            ("--num_machines", "2", "--num_processes", "5"),
            "",
            "num_processes 5 (--num_processes) isn't a multiple of the 2",
        ),
        (("--region", "eu west"), "", "--region: 'eu west' isn't a valid AWS region"),
    ],
)
def test_what_the_service_would_refuse_is_refused_here(
    make: Make, flags: tuple[str, ...], more: str, message: str
) -> None:
    with pytest.raises(AccelError, match=r"\w") as refused:
        make(*flags, more=more)
    assert message in str(refused.value)
    assert refused.value.status == 2


@pytest.mark.parametrize("key", ["ec2_instance_type", "iam_role_name"])
def test_a_setting_that_is_needed_is_named(make: Make, key: str) -> None:
    with pytest.raises(AccelError, match=f"{key} isn't set; give --{key}"):
        make(without=key)


def test_a_script_that_is_not_python_is_refused(settings: Resolve, tmp_path: Path) -> None:
    (tmp_path / "train.sh").touch()
    with pytest.raises(AccelError, match=r"train.sh can't run on SageMaker; the script must be a Python file"):
        job(settings(file=CONFIG), "train.sh", folder=str(tmp_path), environ={})


def test_the_region(make: Make) -> None:
    assert make(environ={"AWS_REGION": "eu-west-1"}).region == "us-east-1"  # the file's
    assert make("--region", "eu-north-1", environ={"AWS_REGION": "eu-west-1"}).region == "eu-north-1"
    assert make(without="region", environ={"AWS_REGION": "eu-west-1"}).region == "eu-west-1"
    assert make(without="region").region == "us-east-1"


def test_a_source_dir_above_the_script(settings: Resolve, tmp_path: Path) -> None:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "deep" / "train.py").touch()
    (tmp_path / "src" / "model.py").touch()
    resolved = settings(file=CONFIG + "additional_args: {source_dir: src}\n")
    made = job(resolved, "src/deep/train.py", folder=str(tmp_path), environ={})
    assert [file.name for file in made.bundle.files] == ["deep/train.py", "model.py"]
    assert made.bundle.program["script"] == "deep/train.py"


def test_secrets_are_not_shown(make: Make) -> None:
    more = "additional_args: {environment: {WANDB_API_KEY: sesame, WANDB_MODE: online, DB: 'pg://me:sesame@h'}}\n"
    made = make(
        "--aws_access_key_id", "AKIAX", "--aws_secret_access_key", "barley", more=more, args=("--hub_token", "sesame")
    )
    shown = made.text() + json.dumps(made.data()) + repr(made.credentials)
    assert "sesame" not in shown
    assert "barley" not in shown
    assert "online" in shown
    assert made.body["Environment"]["WANDB_API_KEY"] == "sesame"
    assert "sesame" not in json.dumps(made.bundle.program["environment"])
    assert made.bundle.program["arguments"] == ["--hub_token", "sesame"]


def test_a_plan_is_the_request(settings: Resolve, tmp_path: Path) -> None:
    """The launcher's own way in: no commands, and nothing of this machine's devices or cores."""
    (tmp_path / "train.py").touch()
    resolved = settings("--num_machines", "2", file=CONFIG)
    made = plan(resolved, Host(cwd=str(tmp_path)), ["train.py"])
    assert (made.engine, made.commands) == ("sagemaker", ())
    assert isinstance(made.request, JobRequest)
    assert "2 x ml.p3.2xlarge in us-east-1, precision bf16" in made.summary


def test_settings_for_ranks_of_this_machine_have_no_effect(settings: Resolve, tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    flags = ("--prefix", "--run_id", "x", "--max_restarts", "2", "--report", "r.json")
    notes = plan(settings(*flags, file=CONFIG), Host(cwd=str(tmp_path)), ["train.py"]).notes
    assert sorted(note.split()[0] for note in notes if "has no effect" in note) == [
        "max_restarts",
        "prefix",
        "run_id",
    ]


def test_a_dry_run_takes_a_missing_script_and_sdk_for_notes(settings: Resolve, tmp_path: Path) -> None:
    config = CONFIG.replace("image_uri", "base_job_name: x #")
    words = ("--dry_run", "--pytorch_version", "2.6.0")
    made = plan(settings(*words, file=config), Host(cwd=str(tmp_path)), ["train.py"])
    assert any("the script train.py doesn't exist" in note for note in made.notes)
    assert any("accel-sagemaker[sagemaker]'" in note for note in made.notes)
    with pytest.raises(AccelError, match="doesn't exist"):
        plan(settings(file=config), Host(cwd=str(tmp_path)), ["train.py"])
