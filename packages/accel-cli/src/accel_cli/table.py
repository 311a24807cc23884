"""Every command, its module, and its line in the help. Importing this imports nothing else."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

COMMANDS: "Final[dict[str, tuple[str, str]]]" = {
    # name: (module, help)
    "attach": ("accel_cli.commands.runs.attach", "Print what a detached run prints, until Ctrl-C leaves it."),
    "config": ("accel_cli.commands.config", "Answer questions to write a config file; check, show and change one."),
    "completion": ("accel_cli.commands.completion", "Print the completion script for a shell."),
    "env": ("accel_cli.commands.env", "Print the environment for a bug report."),
    "estimate-memory": ("accel_cli.commands.estimate", "Estimate the memory that a model needs."),
    "launch": ("accel_launch.cli", "Start a training script."),
    "logs": ("accel_cli.commands.runs.logs", "Print what a detached run has printed."),
    "merge-weights": ("accel_cli.commands.merge", "Merge a sharded checkpoint into one file."),
    "name": ("accel_cli.commands.name", "Show or change whose command that name is, ours or Hugging Face's."),
    "ps": ("accel_cli.commands.runs.ps", "List runs, and processes that are kept warm."),
    "report": ("accel_cli.commands.runs.report", "Print how a run ended, and what its time was spent on."),
    "stacks": ("accel_cli.commands.runs.stacks", "Print what each rank of a run does."),
    "stop": ("accel_cli.commands.runs.stop", "End runs, or processes that are kept warm."),
    "test": ("accel_cli.commands.test", "Check that training works on this machine."),
    "to-fsdp2": ("accel_cli.commands.fsdp2", "Convert a config file from FSDP 1 to FSDP 2."),
    "top": ("accel_cli.commands.runs.top", "Show what each rank of a run does now, in the terminal or as a page."),
    "tpu-config": ("accel_tpu.tpu_config", "Run commands on the workers of a TPU pod."),
    "wait": ("accel_cli.commands.runs.wait", "Wait until a run has ended."),
    "sagemaker": ("accel_sagemaker.cli", "Launch, show, follow or stop a SageMaker job."),
}
"""In the order of the help. Each module has ``main(argv, program)``, which returns an exit status,
and ``parser(program)`` if it reads its arguments with argparse."""
