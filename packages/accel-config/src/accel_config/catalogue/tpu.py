"""TPU hosts and pods."""

from ..section import Section, digit, setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Settings


def _pod(settings: "Settings") -> bool:
    return settings[Tpu].tpu_cluster


class Tpu(Section, title="TPU", asked=lambda settings: settings.paradigm.kind == "XLA"):
    """Training on a TPU, or on every worker of a TPU pod."""

    tpu_cluster: bool = setting(
        False,
        switch=True,
        off="--no_tpu_cluster",
        key="tpu_use_cluster",
        ask="Are you using a TPU cluster?",
        help="Run the script on every worker of a TPU pod.",
    )
    tpu_name: str | None = setting(
        asked=_pod, ask="What is the name of your TPU cluster?", help="Name of the TPU whose workers make the pod."
    )
    tpu_zone: str | None = setting(
        asked=_pod,
        ask="What is the zone of your TPU cluster?",
        help="Zone of the pod. Without it, gcloud's own setting.",
    )
    tpu_use_sudo: bool = setting(
        False,
        switch=True,
        asked=_pod,
        ask="To run a python script in a TPU pod, should `sudo` be used?",
        help="Run as root (sudo) on the pod's workers.",
    )
    vm: tuple[str, ...] = setting(
        (),
        key="tpu_vm",
        asked=_pod,
        gate="Do you want to name the Compute VM instances?",
        ask="What is the name of a Compute VM instance?",
        help="A Compute Engine VM to run on in place of a TPU's workers, by name; may be repeated.",
    )
    env: tuple[str, ...] = setting(
        (),
        key="tpu_env",
        masked=True,
        asked=_pod,
        gate="Do you want to set environment variables on the workers?",
        ask="Which environment variable do you wish to set (KEY=VALUE)?",
        help="A variable for the pod's workers, KEY=VALUE; may be repeated.",
    )
    main_training_function: str = setting(
        "main",
        ask="What is the name of the function in your script that should be launched in all parallel processes?",
        help="Function of the script that each TPU process runs.",
    )
    tpu_spmd: bool = setting(
        False,
        switch=True,
        ours=True,
        help="Run one process with every chip of the host, for a script that shards over them itself (SPMD).",
    )
    downcast_bf16: bool = setting(
        False,
        switch=True,
        env="ACCELERATE_DOWNCAST_BF16",
        form=digit,
        exported=lambda settings: settings.paradigm.kind == "XLA" and settings[Tpu].downcast_bf16,
        asked=lambda settings: settings.value("mixed_precision").value == "bf16",
        ask="Should `torch.float` be cast as `bfloat16` and `torch.double` remain `float32` on TPUs?",
        help="With bf16 on a TPU: only floats become bfloat16, doubles stay float32.",
    )
    command_file: str | None = setting(
        flag=False,
        asked=_pod,
        gate="Do you have a bash script to run on each worker at startup?",
        ask="What is the path to the file with startup commands?",
        help="File of commands that `accelerate tpu-config` runs on the pod.",
    )
    commands: tuple[str, ...] = setting(
        (),
        flag=False,
        asked=lambda settings: _pod(settings) and settings[Tpu].command_file is None,
        gate="Do you want to run commands on each worker at startup?",
        ask="What command should be run on each worker at startup?",
        help="Commands that `accelerate tpu-config` runs on the pod.",
    )
