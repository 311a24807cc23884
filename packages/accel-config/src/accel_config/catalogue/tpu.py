"""Training on TPU hosts and pods."""

from os.path import abspath, expanduser

from accel_config.settings.declaration import Section, setting
from accel_config.settings.forms import digit
from accel_config.settings.paradigm import paradigm
from accel_config.settings.question import Question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.values import Values


def _pod(settings: "Values") -> bool:
    return settings[Tpu].tpu_cluster


class Tpu(Section, title="TPU", asked=lambda settings: paradigm(settings).kind == "XLA"):
    """Training on a TPU, or on every worker of a TPU pod."""

    tpu_cluster: bool = setting(
        False,
        switch=True,
        off="--no_tpu_cluster",
        key="tpu_use_cluster",
        help="Run the script on every worker of a TPU pod.",
        ask=Question("Are you using a TPU cluster?"),
    )
    tpu_name: str | None = setting(
        metavar="NAME",
        help="Name of the TPU whose workers form the pod.",
        ask=Question("What is the name of your TPU cluster?", when=_pod),
    )
    tpu_zone: str | None = setting(
        metavar="ZONE",
        default_text="gcloud's",
        help="Zone of the pod.",
        ask=Question("What is the zone of your TPU cluster?", when=_pod),
    )
    tpu_use_sudo: bool = setting(
        False,
        switch=True,
        help="Run as root (`sudo`) on the workers of the pod.",
        ask=Question("Should the script run with `sudo` on the workers?", when=_pod),
    )
    vm: tuple[str, ...] = setting(
        (),
        key="tpu_vm",
        metavar="NAME",
        help="Compute Engine VM to run on, by name, instead of the workers of a TPU. Can be repeated.",
        ask=Question(
            "What is the name of a Compute VM instance?",
            when=_pod,
            gate="Do you want to name the Compute VM instances?",
        ),
    )
    env: tuple[str, ...] = setting(
        (),
        key="tpu_env",
        pairs=True,
        masked=True,
        metavar="NAME=VALUE",
        help="Environment variable for the workers of the pod, or for every rank with `--hosts`, where `NAME` alone "
        "has this shell's value. Can be repeated.",
        ask=Question(
            "Which environment variable do you want to set (NAME=VALUE)?",
            when=_pod,
            gate="Do you want to set environment variables on the workers?",
        ),
    )
    main_training_function: str = setting(
        "main",
        metavar="NAME",
        help="Function of the script that each TPU process runs.",
        ask=Question("Which function of your script should each process run?"),
    )
    tpu_spmd: bool = setting(
        False,
        switch=True,
        ours=True,
        help="Run one process with all chips of the host, for a script that shards over them itself (SPMD).",
    )
    downcast_bf16: bool = setting(
        False,
        switch=True,
        env="ACCELERATE_DOWNCAST_BF16",
        form=digit,
        exported=lambda settings: paradigm(settings).kind == "XLA" and settings[Tpu].downcast_bf16,
        help="With bf16 on a TPU, convert floats to bfloat16 and keep doubles in float32.",
        ask=Question(
            "Should `torch.float` become `bfloat16`, and `torch.double` stay `float32`, on TPUs?",
            when=lambda settings: settings.value("mixed_precision").value == "bf16",
        ),
    )
    command_file: str | None = setting(
        flag=False,
        metavar="FILE",
        help="File of commands that `accelerate tpu-config` runs on the pod.",
        ask=Question(
            "Where is the file with startup commands?",
            when=_pod,
            gate="Do you have a bash script that each worker should run at startup?",
            kept=lambda path: abspath(expanduser(path)),  # `tpu-config` may be run in another folder
        ),
    )
    commands: tuple[str, ...] = setting(
        (),
        flag=False,
        metavar="COMMAND",
        help="Commands that `accelerate tpu-config` runs on the pod.",
        ask=Question(
            "Which command should each worker run at startup?",
            when=lambda settings: _pod(settings) and settings[Tpu].command_file is None,
            gate="Do you want to run commands on each worker at startup?",
        ),
    )
