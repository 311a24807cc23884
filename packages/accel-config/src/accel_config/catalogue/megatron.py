"""Megatron-LM."""

from ..section import Section, plain, setting


class Megatron(
    Section,
    title="Megatron-LM",
    key="megatron_lm_config",
    prefix="megatron_lm_",
    active=lambda settings: settings.paradigm.kind == "MEGATRON_LM",
    asked=lambda settings: settings.paradigm.kind == "MEGATRON_LM",
    mark="ACCELERATE_USE_MEGATRON_LM",
):
    """Tensor, pipeline and expert parallelism by Megatron-LM."""

    megatron_lm_tp_degree: int = setting(
        1,
        minimum=1,
        env="MEGATRON_LM_TP_DEGREE",
        ask="What is the tensor parallel degree?",
        help="Tensor parallel degree: ranks that each layer is divided over.",
    )
    megatron_lm_pp_degree: int = setting(
        1,
        minimum=1,
        env="MEGATRON_LM_PP_DEGREE",
        ask="What is the pipeline parallel degree?",
        help="Pipeline parallel degree: groups that the layers are divided over.",
    )
    megatron_lm_num_micro_batches: int | None = setting(
        minimum=1,
        env="MEGATRON_LM_NUM_MICRO_BATCHES",
        asked=lambda settings: settings[Megatron].megatron_lm_pp_degree > 1,
        ask="What is the number of micro-batches?",
        ask_default=1,
        help="Micro-batches of each batch, with a pipeline degree above 1.",
    )
    megatron_lm_sequence_parallelism: bool | None = setting(
        env="MEGATRON_LM_SEQUENCE_PARALLELISM",
        asked=lambda settings: settings[Megatron].megatron_lm_tp_degree > 1,
        ask="Do you want to enable sequence parallelism?",
        ask_default=True,
        help="Divide activations along the sequence, with a tensor degree above 1.",
    )
    megatron_lm_recompute_activations: bool | None = setting(
        env="MEGATRON_LM_RECOMPUTE_ACTIVATIONS",
        ask="Do you want to enable selective activation recomputation?",
        ask_default=True,
        help="Compute attention's activations again in the backward pass.",
    )
    megatron_lm_use_distributed_optimizer: bool | None = setting(
        env="MEGATRON_LM_USE_DISTRIBUTED_OPTIMIZER",
        ask="Do you want to shard optimizer state and gradients across data parallel ranks?",
        ask_default=True,
        help="Shard optimizer states and gradients over the data-parallel ranks.",
    )
    megatron_lm_gradient_clipping: float = setting(
        1.0,
        minimum=0,
        env="MEGATRON_LM_GRADIENT_CLIPPING",
        ask="What is the gradient clipping value based on global L2 norm (0 to disable)?",
        help="Global L2 norm that gradients are clipped to; 0: not at all.",
    )
    megatron_lm_use_custom_fsdp: bool = setting(
        False, env="MEGATRON_LM_USE_CUSTOM_FSDP", form=plain, help="Use Megatron's own FSDP."
    )
    megatron_lm_no_load_optim: bool = setting(
        False, env="MEGATRON_LM_NO_LOAD_OPTIM", form=plain, help="Don't load the optimizer from a checkpoint."
    )
    megatron_lm_no_save_optim: bool = setting(
        False, env="MEGATRON_LM_NO_SAVE_OPTIM", form=plain, help="Don't save the optimizer in checkpoints."
    )
    megatron_lm_eod_mask_loss: bool = setting(
        False, env="MEGATRON_LM_EOD_MASK_LOSS", form=plain, help="Leave end-of-document tokens out of the loss."
    )
    megatron_lm_overlap_cpu_optimizer_d2h_h2d: bool = setting(
        False,
        env="MEGATRON_LM_OVERLAP_CPU_OPTIMIZER_D2H_H2D",
        form=plain,
        help="Overlap the offloaded optimizer's step with its copies from and to the device.",
    )
    megatron_lm_optimizer_cpu_offload: bool = setting(
        False, env="MEGATRON_LM_OPTIMIZER_CPU_OFFLOAD", form=plain, help="Keep the optimizer in the CPU's memory."
    )
    megatron_lm_use_precision_aware_optimizer: bool = setting(
        False,
        env="MEGATRON_LM_USE_PRECISION_AWARE_OPTIMIZER",
        form=plain,
        help="Let optimizer states be kept in lower precision.",
    )
    megatron_lm_decoder_last_pipeline_num_layers: int | None = setting(
        minimum=0,
        env="MEGATRON_LM_DECODER_LAST_PIPELINE_NUM_LAYERS",
        help="Decoder layers in the last pipeline group, where they don't divide evenly.",
    )
    megatron_lm_recompute_granularity: str | None = setting(
        choices=("full", "selective"), env="MEGATRON_LM_RECOMPUTE_GRANULARITY", help="What is computed again."
    )
    megatron_lm_recompute_method: str | None = setting(
        choices=("uniform", "block"), env="MEGATRON_LM_RECOMPUTE_METHOD", help="Which layers are computed again."
    )
    megatron_lm_recompute_num_layers: int | None = setting(
        minimum=0, env="MEGATRON_LM_RECOMPUTE_NUM_LAYERS", help="Layers in each group that is computed again."
    )
    megatron_lm_attention_backend: bool | None = setting(
        env="MEGATRON_LM_ATTENTION_BACKEND", help="Whether the attention backend is enabled, as the library reads it."
    )
    megatron_lm_expert_model_parallel_size: int | None = setting(
        minimum=1, env="MEGATRON_LM_EXPERT_MODEL_PARALLEL_SIZE", help="Ranks that the experts are divided over."
    )
    megatron_lm_context_parallel_size: int = setting(
        1,  # given always: the library takes 2 where the variable is missing
        minimum=1,
        env="MEGATRON_LM_CONTEXT_PARALLEL_SIZE",
        help="Ranks that each sequence is divided over.",
    )
    megatron_lm_attention_dropout: float | None = setting(
        minimum=0, maximum=1, env="MEGATRON_LM_ATTENTION_DROPOUT", help="Dropout in attention."
    )
    megatron_lm_hidden_dropout: float | None = setting(
        minimum=0, maximum=1, env="MEGATRON_LM_HIDDEN_DROPOUT", help="Dropout of hidden states."
    )
    megatron_lm_attention_softmax_in_fp32: bool | None = setting(
        env="MEGATRON_LM_ATTENTION_SOFTMAX_IN_FP32", help="Compute attention's softmax in fp32."
    )
    megatron_lm_expert_tensor_parallel_size: int | None = setting(
        minimum=1, env="MEGATRON_LM_EXPERT_TENSOR_PARALLEL_SIZE", help="Tensor parallel degree inside each expert."
    )
    megatron_lm_calculate_per_token_loss: bool | None = setting(
        env="MEGATRON_LM_CALCULATE_PER_TOKEN_LOSS", help="Average the loss over tokens rather than over sequences."
    )
    megatron_lm_use_rotary_position_embeddings: bool | None = setting(
        env="MEGATRON_LM_USE_ROTARY_POSITION_EMBEDDINGS", help="Use rotary position embeddings."
    )
