"""Training with Megatron-LM."""

from accel_config.settings.declaration import Section, setting
from accel_config.settings.paradigm import paradigm
from accel_config.settings.question import Question


class Megatron(
    Section,
    title="Megatron-LM",
    key="megatron_lm_config",
    prefix="megatron_lm_",
    active=lambda settings: paradigm(settings).kind == "MEGATRON_LM",
    asked=lambda settings: paradigm(settings).kind == "MEGATRON_LM",
    mark="ACCELERATE_USE_MEGATRON_LM",
):
    """Tensor, pipeline and expert parallelism with Megatron-LM."""

    megatron_lm_tp_degree: int = setting(
        1,
        minimum=1,
        env="MEGATRON_LM_TP_DEGREE",
        help="Tensor parallel degree: ranks that share each layer.",
        ask=Question("What is the tensor parallel degree?"),
    )
    megatron_lm_pp_degree: int = setting(
        1,
        minimum=1,
        env="MEGATRON_LM_PP_DEGREE",
        help="Pipeline parallel degree: groups of ranks that share the layers.",
        ask=Question("What is the pipeline parallel degree?"),
    )
    megatron_lm_num_micro_batches: int | None = setting(
        minimum=1,
        env="MEGATRON_LM_NUM_MICRO_BATCHES",
        help="Micro-batches of each batch, with a pipeline degree above 1.",
        ask=Question(
            "What is the number of micro-batches?",
            default=1,
            when=lambda settings: settings[Megatron].megatron_lm_pp_degree > 1,
        ),
    )
    megatron_lm_sequence_parallelism: bool | None = setting(
        env="MEGATRON_LM_SEQUENCE_PARALLELISM",
        help="Split activations along the sequence, with a tensor degree above 1.",
        ask=Question(
            "Do you want to enable sequence parallelism?",
            default=True,
            when=lambda settings: settings[Megatron].megatron_lm_tp_degree > 1,
        ),
    )
    megatron_lm_recompute_activations: bool | None = setting(
        env="MEGATRON_LM_RECOMPUTE_ACTIVATIONS",
        help="Recompute the activations of attention in the backward pass.",
        ask=Question("Do you want to enable selective activation recomputation?", default=True),
    )
    megatron_lm_use_distributed_optimizer: bool | None = setting(
        env="MEGATRON_LM_USE_DISTRIBUTED_OPTIMIZER",
        help="Shard optimizer states and gradients over the data-parallel ranks.",
        ask=Question("Do you want to shard optimizer state and gradients across data parallel ranks?", default=True),
    )
    megatron_lm_gradient_clipping: float = setting(
        1.0,
        minimum=0,
        env="MEGATRON_LM_GRADIENT_CLIPPING",
        help="Global L2 norm that gradients are clipped to; 0 disables clipping.",
        ask=Question("Which global L2 norm should gradients be clipped to (0 disables clipping)?"),
    )
    megatron_lm_use_custom_fsdp: bool = setting(
        False, env="MEGATRON_LM_USE_CUSTOM_FSDP", form=str, help="Use Megatron's own FSDP."
    )
    megatron_lm_no_load_optim: bool = setting(
        False, env="MEGATRON_LM_NO_LOAD_OPTIM", form=str, help="Don't load the optimizer from a checkpoint."
    )
    megatron_lm_no_save_optim: bool = setting(
        False, env="MEGATRON_LM_NO_SAVE_OPTIM", form=str, help="Don't save the optimizer in checkpoints."
    )
    megatron_lm_eod_mask_loss: bool = setting(
        False, env="MEGATRON_LM_EOD_MASK_LOSS", form=str, help="Leave end-of-document tokens out of the loss."
    )
    megatron_lm_overlap_cpu_optimizer_d2h_h2d: bool = setting(
        False,
        env="MEGATRON_LM_OVERLAP_CPU_OPTIMIZER_D2H_H2D",
        form=str,
        help="Overlap the step of the offloaded optimizer with its copies from and to the device.",
    )
    megatron_lm_optimizer_cpu_offload: bool = setting(
        False, env="MEGATRON_LM_OPTIMIZER_CPU_OFFLOAD", form=str, help="Keep the optimizer in CPU memory."
    )
    megatron_lm_use_precision_aware_optimizer: bool = setting(
        False,
        env="MEGATRON_LM_USE_PRECISION_AWARE_OPTIMIZER",
        form=str,
        help="Allow optimizer states in lower precision.",
    )
    megatron_lm_decoder_last_pipeline_num_layers: int | None = setting(
        minimum=0,
        env="MEGATRON_LM_DECODER_LAST_PIPELINE_NUM_LAYERS",
        help="Decoder layers in the last pipeline group, where layers don't divide evenly.",
    )
    megatron_lm_recompute_granularity: str | None = setting(
        choices=("full", "selective"),
        env="MEGATRON_LM_RECOMPUTE_GRANULARITY",
        help="What is recomputed: whole layers, or selected activations.",
    )
    megatron_lm_recompute_method: str | None = setting(
        choices=("uniform", "block"),
        env="MEGATRON_LM_RECOMPUTE_METHOD",
        help="Layers that are recomputed: groups of equal size, or the first of each pipeline group.",
    )
    megatron_lm_recompute_num_layers: int | None = setting(
        minimum=0, env="MEGATRON_LM_RECOMPUTE_NUM_LAYERS", help="Layers in each group that is recomputed."
    )
    megatron_lm_attention_backend: bool | None = setting(
        env="MEGATRON_LM_ATTENTION_BACKEND", help="Whether the attention backend is enabled, as the library reads it."
    )
    megatron_lm_expert_model_parallel_size: int | None = setting(
        minimum=1, env="MEGATRON_LM_EXPERT_MODEL_PARALLEL_SIZE", help="Ranks that share the experts."
    )
    megatron_lm_context_parallel_size: int = setting(
        1,  # always exported: without the variable, the library takes 2
        minimum=1,
        env="MEGATRON_LM_CONTEXT_PARALLEL_SIZE",
        help="Ranks that share each sequence.",
    )
    megatron_lm_attention_dropout: float | None = setting(
        minimum=0, maximum=1, env="MEGATRON_LM_ATTENTION_DROPOUT", help="Dropout in attention."
    )
    megatron_lm_hidden_dropout: float | None = setting(
        minimum=0, maximum=1, env="MEGATRON_LM_HIDDEN_DROPOUT", help="Dropout of hidden states."
    )
    megatron_lm_attention_softmax_in_fp32: bool | None = setting(
        env="MEGATRON_LM_ATTENTION_SOFTMAX_IN_FP32", help="Compute the softmax of attention in fp32."
    )
    megatron_lm_expert_tensor_parallel_size: int | None = setting(
        minimum=1, env="MEGATRON_LM_EXPERT_TENSOR_PARALLEL_SIZE", help="Tensor parallel degree inside each expert."
    )
    megatron_lm_calculate_per_token_loss: bool | None = setting(
        env="MEGATRON_LM_CALCULATE_PER_TOKEN_LOSS", help="Average the loss over tokens instead of sequences."
    )
    megatron_lm_use_rotary_position_embeddings: bool | None = setting(
        env="MEGATRON_LM_USE_ROTARY_POSITION_EMBEDDINGS", help="Use rotary position embeddings."
    )
