"""Every command, where it is found, and one line on it. Importing this imports nothing else."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

COMMANDS: "Final[dict[str, tuple[str, str]]]" = {
    # name: (module, help)
    "config": ("accel_config.cli", "Write a config file by questions; check, show and change it."),
    "completion": ("accel_cli.commands.completion", "Print a shell's completion script."),
    "env": ("accel_cli.commands.env", "Show the environment, for a bug report."),
    "estimate-memory": ("accel_cli.commands.estimate", "Estimate the memory that a model needs."),
    "launch": ("accel_launch.cli", "Start a training script."),
    "merge-weights": ("accel_cli.commands.merge", "Merge a sharded checkpoint into one file."),
    "test": ("accel_cli.commands.test", "Check that training works on this machine."),
    "to-fsdp2": ("accel_cli.commands.fsdp2", "Turn an FSDP 1 config into one for FSDP 2."),
    "tpu-config": ("accel_tpu.tpu_config", "Run commands on the workers of a TPU pod."),
    "sagemaker": ("accel_sagemaker.cli", "Launch, look at, follow or stop a SageMaker job."),
}
"""In the order in which help shows them. Each module has ``main(argv, program)``, which returns an exit status."""
