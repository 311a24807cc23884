"""DeepSpeed."""

from ..section import Section, lower, setting

DEVICES = ("none", "cpu", "nvme")


class DeepSpeed(
    Section,
    title="DeepSpeed",
    key="deepspeed_config",
    active=lambda settings: settings.paradigm.kind == "DEEPSPEED",
    mark="ACCELERATE_USE_DEEPSPEED",
):
    """ZeRO and its offloading."""

    deepspeed_config_file: str | None = setting(
        unset=("none",),
        env="ACCELERATE_DEEPSPEED_CONFIG_FILE",
        ask="Where is your DeepSpeed configuration file?",
        help="DeepSpeed's own configuration, JSON. The settings below that it decides can't be given beside it.",
    )
    zero_stage: int | None = setting(
        minimum=0,
        maximum=3,
        env="ACCELERATE_DEEPSPEED_ZERO_STAGE",
        ask="What should be your DeepSpeed's ZeRO optimization stage?",
        ask_default=2,
        help="What is partitioned over the ranks: 0 nothing, 1 optimizer states, 2 gradients too, 3 parameters too. "
        "Unset: 2.",
    )
    offload_optimizer_device: str | None = setting(
        choices=DEVICES,
        env="ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE",
        form=lower,
        ask="Where to offload optimizer states?",
        help="Where optimizer states are kept (stage 2 and 3).",
    )
    offload_param_device: str | None = setting(
        choices=DEVICES,
        env="ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE",
        form=lower,
        ask="Where to offload parameters?",
        help="Where parameters are kept (stage 3).",
    )
    offload_optimizer_nvme_path: str | None = setting(
        unset=("none",),
        env="ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_NVME_PATH",
        ask="Nvme Path to offload optimizer states?",
        ask_default="/nvme",
        help="Folder on the NVMe disk for optimizer states.",
    )
    offload_param_nvme_path: str | None = setting(
        unset=("none",),
        env="ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_NVME_PATH",
        ask="Nvme Path to offload parameters?",
        ask_default="/nvme",
        help="Folder on the NVMe disk for parameters.",
    )
    gradient_accumulation_steps: int | None = setting(
        minimum=1,
        unset=("auto",),
        env="ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
        ask="How many gradient accumulation steps are you passing in your script?",
        ask_default=1,
        help="Steps over which the script accumulates gradients.",
    )
    gradient_clipping: float | None = setting(
        minimum=0,
        unset=("auto",),
        env="ACCELERATE_GRADIENT_CLIPPING",
        ask="What is the gradient clipping value?",
        ask_default=1.0,
        help="Norm that the script clips gradients to.",
    )
    zero3_init_flag: bool | None = setting(
        env="ACCELERATE_DEEPSPEED_ZERO3_INIT",
        ask="Do you want to construct massive models sharded from the start (deepspeed.zero.Init)?",
        help="Partition the model while it is built (stage 3). Unset: with stage 3.",
    )
    zero3_save_16bit_model: bool | None = setting(
        env="ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL",
        ask="Do you want to save 16-bit model weights when using ZeRO Stage-3?",
        help="Gather and save 16-bit weights (stage 3).",
    )
    deepspeed_hostfile: str | None = setting(
        unset=("none",), ask="Where is the DeepSpeed hostfile?", help="Hosts and their slots, for several machines."
    )
    deepspeed_exclusion_filter: str | None = setting(
        ask="Which hosts and devices should be left out (DeepSpeed's filter text)?",
        help="Hosts and devices of the hostfile to leave out. Wins over the inclusion filter.",
    )
    deepspeed_inclusion_filter: str | None = setting(
        ask="Which hosts and devices should be used (DeepSpeed's filter text)?",
        help="Hosts and devices of the hostfile to use.",
    )
    deepspeed_multinode_launcher: str | None = setting(
        choices=("pdsh", "standard", "openmpi", "mvapich", "mpich", "nossh", "slurm"),
        ask="Which type of launcher do you want to use?",
        ask_default="pdsh",
        help="What starts ranks on several machines: standard is torch's own agent, started on each. Unset: pdsh.",
    )
    deepspeed_moe_layer_cls_names: str | None = setting(
        joins=True,
        env="ACCELERATE_DEEPSPEED_MOE_LAYER_CLS_NAMES",
        ask="Which mixture-of-experts layer class names (case-sensitive, separated by commas)?",
        help="Classes of mixture-of-experts layers, separated by commas, such as MixtralSparseMoeBlock.",
    )
