"""Training with FullyShardedDataParallel."""

from accel_config.settings.declaration import Section, setting
from accel_config.settings.forms import lower
from accel_config.settings.paradigm import paradigm
from accel_config.settings.question import Question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.values import Values

STRATEGIES = ("FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD", "HYBRID_SHARD_ZERO2")
STATE_DICTS = ("FULL_STATE_DICT", "LOCAL_STATE_DICT", "SHARDED_STATE_DICT")


def _version_1(settings: "Values") -> bool:
    return settings[Fsdp].fsdp_version == 1


def _policy(settings: "Values") -> str:
    return (settings[Fsdp].fsdp_auto_wrap_policy or "").partition("_")[0]


class Fsdp(
    Section,
    title="Fully sharded data parallel (FSDP)",
    key="fsdp_config",
    prefix="fsdp_",
    active=lambda settings: paradigm(settings).kind == "FSDP",
    asked=lambda settings: paradigm(settings).kind == "FSDP",
    mark="ACCELERATE_USE_FSDP",
):
    """Sharding of parameters, gradients and optimizer states over the ranks."""

    fsdp_version: int = setting(
        1,
        choices=(1, 2),
        env="FSDP_VERSION",
        help="FSDP implementation: 1 wraps modules in FlatParameters, 2 (`fully_shard`) uses DTensor.",
        ask=Question("Which FSDP version do you want to use?", default=2),
    )
    fsdp_reshard_after_forward: str = setting(
        "true",
        choices=("true", "false", *STRATEGIES),
        renamed={"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"},
        env="FSDP_RESHARD_AFTER_FORWARD",
        form=lower,
        help="Version 2: whether parameters are sharded again after the forward pass. Version 1: a "
        "sharding strategy.",
        ask=Question(
            "Should parameters be sharded again after the forward pass?",
            default=lambda settings, _machine: STRATEGIES[0] if _version_1(settings) else "true",
            offered=lambda settings: STRATEGIES if _version_1(settings) else ("true", "false"),
        ),
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
        help="Keep parameters and gradients in CPU memory.",
        ask=Question("Do you want to offload parameters and gradients to CPU?"),
    )
    fsdp_auto_wrap_policy: str | None = setting(
        choices=("TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP", "NO_WRAP"),
        env="FSDP_AUTO_WRAP_POLICY",
        help="Modules that become units of their own: those of named classes, those above a size, or none.",
        ask=Question("Which auto wrap policy do you want to use?", default="TRANSFORMER_BASED_WRAP"),
    )
    fsdp_transformer_layer_cls_to_wrap: str | None = setting(
        joins=True,
        env="FSDP_TRANSFORMER_CLS_TO_WRAP",
        metavar="CLASSES",
        default_text="the classes that the model names",
        help="Classes to wrap with TRANSFORMER_BASED_WRAP, separated by commas, such as `BertLayer,GPTJBlock`.",
        ask=Question(
            "Which transformer layer classes should be wrapped (case-sensitive, separated by commas)?",
            when=lambda settings: _policy(settings) == "TRANSFORMER",
            gate="Do you want to name the layer classes to wrap, instead of using those that the model names?",
        ),
    )
    fsdp_min_num_params: int = setting(
        100_000_000,
        minimum=0,
        env="FSDP_MIN_NUM_PARAMS",
        help="Number of parameters from which SIZE_BASED_WRAP wraps a module.",
        ask=Question(
            "How many parameters must a module have to be wrapped?",
            when=lambda settings: _policy(settings) == "SIZE",
        ),
    )
    fsdp_backward_prefetch: str | None = setting(
        choices=("BACKWARD_PRE", "BACKWARD_POST", "NO_PREFETCH"),
        aliases=("--fsdp_backward_prefetch_policy",),
        old_keys=("fsdp_backward_prefetch_policy",),
        env="FSDP_BACKWARD_PREFETCH",
        help="Version 1: when the backward pass gathers the next parameters. Also `--fsdp_backward_prefetch_policy`.",
        ask=Question(
            "Which backward prefetch policy do you want to use?",
            default="BACKWARD_PRE",
            when=_version_1,
        ),
    )
    fsdp_forward_prefetch: bool = setting(
        False,
        env="FSDP_FORWARD_PREFETCH",
        help="Version 1: gather the next parameters during the forward pass.",
        ask=Question("Do you want to prefetch the next parameters in the forward pass?", when=_version_1),
    )
    fsdp_state_dict_type: str | None = setting(
        choices=STATE_DICTS,
        env="FSDP_STATE_DICT_TYPE",
        default_text="FULL_STATE_DICT with version 1, SHARDED_STATE_DICT with version 2",
        help="Form of checkpoints: whole, or in shards. Version 2 has no LOCAL_STATE_DICT.",
        ask=Question(
            "Which state dict type do you want to use?",
            default=lambda settings, _machine: STATE_DICTS[0] if _version_1(settings) else STATE_DICTS[-1],
            offered=lambda settings: STATE_DICTS if _version_1(settings) else STATE_DICTS[::-2],
        ),
    )
    fsdp_use_orig_params: bool = setting(
        True,
        env="FSDP_USE_ORIG_PARAMS",
        help="Version 1: let parameters of one unit differ in `requires_grad`.",
        ask=Question(
            "Do you want to use the original parameters (needed if a unit has frozen and trained ones)?",
            when=_version_1,
        ),
    )
    fsdp_cpu_ram_efficient_loading: bool = setting(
        True,
        env="FSDP_CPU_RAM_EFFICIENT_LOADING",
        help="Load the checkpoint in the first process only. Version 1 then needs fsdp_sync_module_states.",
        ask=Question("Should only the first process load the pretrained weights?"),
    )
    fsdp_sync_module_states: bool = setting(
        True,
        env="FSDP_SYNC_MODULE_STATES",
        help="Version 1: send the parameters of each unit from rank 0 to all ranks at the start.",
        ask=Question(
            "Should each unit get its parameters from rank 0 at the start?",
            when=_version_1,
            # Ranks that load no weights get them from rank 0.
            implied=lambda settings: (_version_1(settings) and settings[Fsdp].fsdp_cpu_ram_efficient_loading) or None,
        ),
    )
    fsdp_activation_checkpointing: bool = setting(
        False,
        env="FSDP_ACTIVATION_CHECKPOINTING",
        help="Free activations in the forward pass and recompute them in the backward pass.",
        ask=Question("Do you want to recompute activations in the backward pass, to save memory?"),
    )
    fsdp_activation_checkpointing_offload: bool = setting(
        False,
        env="FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD",
        help="Keep checkpointed activations in CPU memory. Needs version 2 and activation checkpointing.",
    )
    fsdp_ignored_modules: str | None = setting(
        env="FSDP_IGNORED_MODULES",
        metavar="REGEX",
        help="Modules that aren't sharded: a regular expression over their names.",
    )
