"""Training with DeepSpeed."""

from accel_config.settings.declaration import Section, setting
from accel_config.settings.forms import lower, path
from accel_config.settings.paradigm import paradigm
from accel_config.settings.question import Question

DEVICES = ("none", "cpu", "nvme")
STAGE_OF_GRADIENTS, STAGE_OF_PARAMETERS = 2, 3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.values import Values


def _own_file(settings: "Values") -> bool:
    """Return whether DeepSpeed's own configuration replaces these settings."""
    return settings[DeepSpeed].deepspeed_config_file is not None


def _stage(settings: "Values") -> int:
    return settings[DeepSpeed].zero_stage or 0


def _hosts(settings: "Values") -> bool:
    """Return whether this machine starts the ranks of the others, so that it must know those machines."""
    launcher = settings[DeepSpeed].deepspeed_multinode_launcher
    return settings.value("num_machines").value != 1 and launcher != "standard"


class DeepSpeed(
    Section,
    title="DeepSpeed",
    key="deepspeed_config",
    active=lambda settings: paradigm(settings).kind == "DEEPSPEED",
    asked=lambda settings: paradigm(settings).kind == "DEEPSPEED",
    mark="ACCELERATE_USE_DEEPSPEED",
):
    """ZeRO stages and offloading."""

    deepspeed_config_file: str | None = setting(
        unset=("none",),
        env="ACCELERATE_DEEPSPEED_CONFIG_FILE",
        form=path,
        metavar="FILE",
        help="DeepSpeed's own configuration, a JSON file. Settings below that it decides must not be set as well.",
        ask=Question(
            "Where is your DeepSpeed configuration file?",
            gate="Do you want to use a DeepSpeed configuration file (JSON)?",
        ),
    )
    zero_stage: int | None = setting(
        minimum=0,
        maximum=3,
        env="ACCELERATE_DEEPSPEED_ZERO_STAGE",
        default_text="2",
        help="What is partitioned over the ranks: 0 nothing, 1 optimizer states, 2 also gradients, 3 "
        "also parameters.",
        ask=Question(
            "Which ZeRO stage should DeepSpeed use?",
            default=2,
            when=lambda settings: not _own_file(settings),
            offered=lambda _settings: range(4),
        ),
    )
    offload_optimizer_device: str | None = setting(
        choices=DEVICES,
        env="ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE",
        form=lower,
        help="Where optimizer states are kept (stages 2 and 3).",
        ask=Question(
            "Where should optimizer states be offloaded to?",
            default="none",
            when=lambda settings: _stage(settings) >= STAGE_OF_GRADIENTS,
        ),
    )
    offload_param_device: str | None = setting(
        choices=DEVICES,
        env="ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE",
        form=lower,
        help="Where parameters are kept (stage 3).",
        ask=Question(
            "Where should parameters be offloaded to?",
            default="none",
            when=lambda settings: _stage(settings) == STAGE_OF_PARAMETERS,
        ),
    )
    offload_optimizer_nvme_path: str | None = setting(
        unset=("none",),
        env="ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_NVME_PATH",
        form=path,
        metavar="FOLDER",
        help="Folder on an NVMe disk for optimizer states.",
        ask=Question(
            "Which folder on an NVMe disk should hold optimizer states?",
            default="/nvme",
            when=lambda settings: settings[DeepSpeed].offload_optimizer_device == "nvme",
        ),
    )
    offload_param_nvme_path: str | None = setting(
        unset=("none",),
        env="ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_NVME_PATH",
        form=path,
        metavar="FOLDER",
        help="Folder on an NVMe disk for parameters.",
        ask=Question(
            "Which folder on an NVMe disk should hold parameters?",
            default="/nvme",
            when=lambda settings: settings[DeepSpeed].offload_param_device == "nvme",
        ),
    )
    gradient_accumulation_steps: int | None = setting(
        minimum=1,
        unset=("auto",),
        env="ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
        help="Number of steps over which the script accumulates gradients.",
        ask=Question(
            "How many gradient accumulation steps does your script use?",
            default=1,
            when=lambda settings: not _own_file(settings),
        ),
    )
    gradient_clipping: float | None = setting(
        minimum=0,
        unset=("auto",),
        env="ACCELERATE_GRADIENT_CLIPPING",
        help="Norm that the script clips gradients to.",
        ask=Question(
            "What is the gradient clipping value?",
            default=1.0,
            when=lambda settings: not _own_file(settings),
            gate="Do you want to use gradient clipping?",
        ),
    )
    zero3_init_flag: bool | None = setting(
        env="ACCELERATE_DEEPSPEED_ZERO3_INIT",
        default_text="true with stage 3",
        help="Partition the model while it is built (stage 3).",
        ask=Question(
            "Do you want to shard large models while they are built (deepspeed.zero.Init)?",
            default=lambda settings, _machine: _stage(settings) == STAGE_OF_PARAMETERS,
            when=lambda settings: _own_file(settings) or _stage(settings) == STAGE_OF_PARAMETERS,
        ),
    )
    zero3_save_16bit_model: bool | None = setting(
        env="ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL",
        help="Gather and save 16-bit weights (stage 3).",
        ask=Question(
            "Do you want to save 16-bit weights with ZeRO stage 3?",
            default=False,
            when=lambda settings: _stage(settings) == STAGE_OF_PARAMETERS,
        ),
    )
    deepspeed_multinode_launcher: str | None = setting(
        choices=("pdsh", "standard", "openmpi", "mvapich", "mpich", "nossh", "slurm"),
        default_text="pdsh",
        help="Program that starts ranks on several machines. `standard` is torch's own agent, started "
        "on each machine.",
        ask=Question(
            "Which launcher should start the ranks?",
            default="pdsh",
            when=lambda settings: settings.value("num_machines").value != 1,
        ),
    )
    deepspeed_hostfile: str | None = setting(
        unset=("none",),
        metavar="FILE",
        help="Hosts and their slots, for several machines.",
        ask=Question("Where is the DeepSpeed hostfile?", when=_hosts),
    )
    deepspeed_exclusion_filter: str | None = setting(
        metavar="FILTER",
        help="Hosts and devices of the hostfile to leave out. It wins over the inclusion filter.",
        ask=Question(
            "Which hosts and devices should be left out (a filter of DeepSpeed)?",
            when=_hosts,
            gate="Do you want to leave out hosts or devices of the hostfile?",
        ),
    )
    deepspeed_inclusion_filter: str | None = setting(
        metavar="FILTER",
        help="Hosts and devices of the hostfile to use.",
        ask=Question(
            "Which hosts and devices should be used (a filter of DeepSpeed)?",
            when=_hosts,
            gate="Do you want to use only some hosts or devices of the hostfile?",
        ),
    )
    deepspeed_moe_layer_cls_names: str | None = setting(
        joins=True,
        env="ACCELERATE_DEEPSPEED_MOE_LAYER_CLS_NAMES",
        metavar="CLASSES",
        help="Classes of mixture-of-experts layers, separated by commas, such as `MixtralSparseMoeBlock`.",
        ask=Question(
            "Which classes are mixture-of-experts layers (case-sensitive, separated by commas)?",
            gate="Do you want to train a mixture-of-experts (MoE) model?",
        ),
    )
