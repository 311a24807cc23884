"""FullyShardedDataParallel."""

from ..section import Section, lower, setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Settings

STRATEGIES = ("FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD", "HYBRID_SHARD_ZERO2")
STATE_DICTS = ("FULL_STATE_DICT", "LOCAL_STATE_DICT", "SHARDED_STATE_DICT")


def _version_1(settings: "Settings") -> bool:
    return settings[Fsdp].fsdp_version == 1


def _policy(settings: "Settings") -> str:
    return (settings[Fsdp].fsdp_auto_wrap_policy or "").partition("_")[0]


class Fsdp(
    Section,
    title="Fully sharded data parallel (FSDP)",
    key="fsdp_config",
    prefix="fsdp_",
    active=lambda settings: settings.paradigm.kind == "FSDP",
    asked=lambda settings: settings.paradigm.kind == "FSDP",
    mark="ACCELERATE_USE_FSDP",
):
    """Sharding parameters, gradients and optimizer states over the ranks."""

    fsdp_version: int = setting(
        1,
        choices=(1, 2),
        env="FSDP_VERSION",
        ask="Which FSDP version do you want to use?",
        ask_default=2,
        help="Which implementation: 1 wraps modules in FlatParameters, 2 (fully_shard) uses DTensor.",
    )
    fsdp_reshard_after_forward: str = setting(
        "true",
        choices=("true", "false", *STRATEGIES),
        renamed={"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"},
        env="FSDP_RESHARD_AFTER_FORWARD",
        form=lower,
        offered=lambda settings: STRATEGIES if _version_1(settings) else ("true", "false"),
        ask_default=lambda settings, _machine: STRATEGIES[0] if _version_1(settings) else "true",
        ask="Should parameters be sharded again after the forward pass?",
        help="Version 2: true or false, whether parameters are sharded again after the forward pass. "
        "Version 1: a sharding strategy.",
    )
    fsdp_sharding_strategy: str = setting(
        "FULL_SHARD",
        choices=STRATEGIES,
        renamed={str(place): name for place, name in enumerate(STRATEGIES, start=1)},
        env="FSDP_SHARDING_STRATEGY",
        help="Version 1: what is sharded, by name or number (1 to 5). Version 2 uses fsdp_reshard_after_forward.",
    )
    fsdp_offload_params: bool = setting(
        False,
        env="FSDP_OFFLOAD_PARAMS",
        ask="Do you want to offload parameters and gradients to CPU?",
        help="Keep parameters and gradients in the memory of the CPU.",
    )
    fsdp_auto_wrap_policy: str | None = setting(
        choices=("TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP", "NO_WRAP"),
        env="FSDP_AUTO_WRAP_POLICY",
        ask="What should be your auto wrap policy?",
        ask_default="TRANSFORMER_BASED_WRAP",
        help="Which modules become units of their own: named classes, modules from a size on, or none.",
    )
    fsdp_transformer_layer_cls_to_wrap: str | None = setting(
        joins=True,
        env="FSDP_TRANSFORMER_CLS_TO_WRAP",
        gate="Do you want to name the layer classes to wrap, instead of leaving that to the model?",
        asked=lambda settings: _policy(settings) == "TRANSFORMER",
        ask="Which transformer layer class names should be wrapped (case-sensitive, separated by commas)?",
        help="Classes to wrap with TRANSFORMER_BASED_WRAP, separated by commas, such as BertLayer,GPTJBlock. "
        "Unset: those the model itself names.",
    )
    fsdp_min_num_params: int = setting(
        100_000_000,
        minimum=0,
        env="FSDP_MIN_NUM_PARAMS",
        asked=lambda settings: _policy(settings) == "SIZE",
        ask="From how many parameters on should a module be wrapped?",
        help="Size from which SIZE_BASED_WRAP wraps a module.",
    )
    fsdp_backward_prefetch: str | None = setting(
        choices=("BACKWARD_PRE", "BACKWARD_POST", "NO_PREFETCH"),
        aliases=("--fsdp_backward_prefetch_policy",),
        old_keys=("fsdp_backward_prefetch_policy",),
        env="FSDP_BACKWARD_PREFETCH",
        asked=_version_1,
        ask="What should be your backward prefetch policy?",
        ask_default="BACKWARD_PRE",
        help="Version 1: when the next parameters are gathered in the backward pass.",
    )
    fsdp_forward_prefetch: bool = setting(
        False,
        env="FSDP_FORWARD_PREFETCH",
        asked=_version_1,
        ask="Do you want to prefetch the next parameters in the forward pass?",
        help="Version 1: gather the next parameters during the forward pass.",
    )
    fsdp_state_dict_type: str | None = setting(
        choices=STATE_DICTS,
        offered=lambda settings: STATE_DICTS if _version_1(settings) else STATE_DICTS[::-2],
        env="FSDP_STATE_DICT_TYPE",
        ask="What should be your state dict type?",
        ask_default=lambda settings, _machine: STATE_DICTS[0] if _version_1(settings) else STATE_DICTS[-1],
        help="How checkpoints are written: whole, or in shards. Version 2 has no LOCAL_STATE_DICT.",
    )
    fsdp_use_orig_params: bool = setting(
        True,
        env="FSDP_USE_ORIG_PARAMS",
        asked=_version_1,
        ask="Do you want to use the original parameters (needed for a mix of frozen and trained ones in a unit)?",
        help="Version 1: let parameters of one unit differ in requires_grad.",
    )
    fsdp_cpu_ram_efficient_loading: bool = setting(
        True,
        env="FSDP_CPU_RAM_EFFICIENT_LOADING",
        ask="Should only the first process load the pretrained weights?",
        help="Only the first process loads the checkpoint. Version 1 then needs fsdp_sync_module_states.",
    )
    fsdp_sync_module_states: bool = setting(
        True,
        env="FSDP_SYNC_MODULE_STATES",
        asked=_version_1,
        # Ranks that load no weights must get them from rank 0.
        implied=lambda settings: (_version_1(settings) and settings[Fsdp].fsdp_cpu_ram_efficient_loading) or None,
        ask="Should each unit get its parameters from rank 0 at the start?",
        help="Version 1: each unit gets its parameters from rank 0.",
    )
    fsdp_activation_checkpointing: bool = setting(
        False,
        env="FSDP_ACTIVATION_CHECKPOINTING",
        ask="Do you want to compute activations again in the backward pass to save memory?",
        help="Free activations in the forward pass and compute them again in the backward pass.",
    )
    fsdp_activation_checkpointing_offload: bool = setting(
        False,
        env="FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD",
        help="Keep the checkpointed activations in the CPU's memory. Needs version 2 and activation checkpointing.",
    )
    fsdp_ignored_modules: str | None = setting(
        env="FSDP_IGNORED_MODULES", help="Modules to leave out of sharding: a regular expression over their names."
    )
