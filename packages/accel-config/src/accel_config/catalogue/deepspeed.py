"""DeepSpeed."""

from ..section import Section, lower, path, setting

DEVICES = ("none", "cpu", "nvme")
STAGE_OF_GRADIENTS, STAGE_OF_PARAMETERS = 2, 3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Settings


def _own_file(settings: "Settings") -> bool:
    """Whether DeepSpeed's own configuration says what these settings would."""
    return settings[DeepSpeed].deepspeed_config_file is not None


def _stage(settings: "Settings") -> int:
    return settings[DeepSpeed].zero_stage or 0


def _hosts(settings: "Settings") -> bool:
    """Whether ranks on other machines are started from this one, which then needs to know those machines."""
    launcher = settings[DeepSpeed].deepspeed_multinode_launcher
    return settings.value("num_machines").value != 1 and launcher != "standard"


class DeepSpeed(
    Section,
    title="DeepSpeed",
    key="deepspeed_config",
    active=lambda settings: settings.paradigm.kind == "DEEPSPEED",
    asked=lambda settings: settings.paradigm.kind == "DEEPSPEED",
    mark="ACCELERATE_USE_DEEPSPEED",
):
    """ZeRO and its offloading."""

    deepspeed_config_file: str | None = setting(
        unset=("none",),
        env="ACCELERATE_DEEPSPEED_CONFIG_FILE",
        form=path,
        gate="Do you want to specify a json file to a DeepSpeed config?",
        ask="Where is your DeepSpeed configuration file?",
        help="DeepSpeed's own configuration, JSON. The settings below that it decides can't be given beside it.",
    )
    zero_stage: int | None = setting(
        minimum=0,
        maximum=3,
        env="ACCELERATE_DEEPSPEED_ZERO_STAGE",
        asked=lambda settings: not _own_file(settings),
        offered=lambda _settings: range(4),
        ask="What should be your DeepSpeed's ZeRO optimization stage?",
        ask_default=2,
        help="What is partitioned over the ranks: 0 nothing, 1 optimizer states, 2 gradients too, 3 parameters too. "
        "Unset: 2.",
    )
    offload_optimizer_device: str | None = setting(
        choices=DEVICES,
        env="ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE",
        form=lower,
        asked=lambda settings: _stage(settings) >= STAGE_OF_GRADIENTS,
        ask_default="none",
        ask="Where to offload optimizer states?",
        help="Where optimizer states are kept (stage 2 and 3).",
    )
    offload_param_device: str | None = setting(
        choices=DEVICES,
        env="ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE",
        form=lower,
        asked=lambda settings: _stage(settings) == STAGE_OF_PARAMETERS,
        ask_default="none",
        ask="Where to offload parameters?",
        help="Where parameters are kept (stage 3).",
    )
    offload_optimizer_nvme_path: str | None = setting(
        unset=("none",),
        env="ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_NVME_PATH",
        form=path,
        asked=lambda settings: settings[DeepSpeed].offload_optimizer_device == "nvme",
        ask="Nvme Path to offload optimizer states?",
        ask_default="/nvme",
        help="Folder on the NVMe disk for optimizer states.",
    )
    offload_param_nvme_path: str | None = setting(
        unset=("none",),
        env="ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_NVME_PATH",
        form=path,
        asked=lambda settings: settings[DeepSpeed].offload_param_device == "nvme",
        ask="Nvme Path to offload parameters?",
        ask_default="/nvme",
        help="Folder on the NVMe disk for parameters.",
    )
    gradient_accumulation_steps: int | None = setting(
        minimum=1,
        unset=("auto",),
        env="ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
        asked=lambda settings: not _own_file(settings),
        ask="How many gradient accumulation steps are you passing in your script?",
        ask_default=1,
        help="Steps over which the script accumulates gradients.",
    )
    gradient_clipping: float | None = setting(
        minimum=0,
        unset=("auto",),
        env="ACCELERATE_GRADIENT_CLIPPING",
        asked=lambda settings: not _own_file(settings),
        gate="Do you want to use gradient clipping?",
        ask="What is the gradient clipping value?",
        ask_default=1.0,
        help="Norm that the script clips gradients to.",
    )
    zero3_init_flag: bool | None = setting(
        env="ACCELERATE_DEEPSPEED_ZERO3_INIT",
        asked=lambda settings: _own_file(settings) or _stage(settings) == STAGE_OF_PARAMETERS,
        ask_default=lambda settings, _machine: _stage(settings) == STAGE_OF_PARAMETERS,
        ask="Do you want to construct massive models sharded from the start (deepspeed.zero.Init)?",
        help="Partition the model while it is built (stage 3). Unset: with stage 3.",
    )
    zero3_save_16bit_model: bool | None = setting(
        env="ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL",
        asked=lambda settings: _stage(settings) == STAGE_OF_PARAMETERS,
        ask_default=False,
        ask="Do you want to save 16-bit model weights when using ZeRO Stage-3?",
        help="Gather and save 16-bit weights (stage 3).",
    )
    deepspeed_multinode_launcher: str | None = setting(
        choices=("pdsh", "standard", "openmpi", "mvapich", "mpich", "nossh", "slurm"),
        asked=lambda settings: settings.value("num_machines").value != 1,
        ask="Which type of launcher do you want to use?",
        ask_default="pdsh",
        help="What starts ranks on several machines: standard is torch's own agent, started on each. Unset: pdsh.",
    )
    deepspeed_hostfile: str | None = setting(
        unset=("none",),
        asked=_hosts,
        ask="Where is the DeepSpeed hostfile?",
        help="Hosts and their slots, for several machines.",
    )
    deepspeed_exclusion_filter: str | None = setting(
        asked=_hosts,
        gate="Do you want to leave out hosts or devices of the hostfile?",
        ask="Which hosts and devices should be left out (DeepSpeed's filter text)?",
        help="Hosts and devices of the hostfile to leave out. Wins over the inclusion filter.",
    )
    deepspeed_inclusion_filter: str | None = setting(
        asked=_hosts,
        gate="Do you want to use only some hosts or devices of the hostfile?",
        ask="Which hosts and devices should be used (DeepSpeed's filter text)?",
        help="Hosts and devices of the hostfile to use.",
    )
    deepspeed_moe_layer_cls_names: str | None = setting(
        joins=True,
        env="ACCELERATE_DEEPSPEED_MOE_LAYER_CLS_NAMES",
        gate="Do you want to train a mixture-of-experts (MoE) model?",
        ask="Which mixture-of-experts layer class names (case-sensitive, separated by commas)?",
        help="Classes of mixture-of-experts layers, separated by commas, such as MixtralSparseMoeBlock.",
    )
