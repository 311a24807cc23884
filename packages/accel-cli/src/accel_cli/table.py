"""Every command, where it is found, and one line on it. Importing this imports nothing else."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

COMMANDS: "Final[dict[str, tuple[str, str, str]]]" = {
    # name: (module, distribution to install when the module is missing, help)
    "config": ("accel_config.cli", "accel-config", "Ask about the machine and write a config file; check and change it."),
    "launch": ("accel_launch.cli", "accel-launch", "Start a training script."),
}
"""In the order in which help shows them. Each module has ``main(argv, program)``, which returns an exit status."""

LATER: "Final[dict[str, str]]" = {
    "env": "Show the environment, for a bug report.",
    "estimate-memory": "Estimate the memory that a model needs.",
    "merge-weights": "Merge a sharded checkpoint into one file.",
    "test": "Check that training works on this machine.",
    "to-fsdp2": "Turn an FSDP 1 config into one for FSDP 2.",
    "tpu-config": "Run commands on the workers of a TPU pod.",
}
"""Commands that are not in this version yet."""
