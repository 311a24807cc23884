"""A model of transformers built from its config, and a batch for it: without data if fake tensors are on."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module

from accel_config.record import Record
from accel_estimate.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from typing import Any

    from accel_estimate.training.recipe import Recipe

torch: Any = import_module("torch")
transformers: Any = import_module("transformers")

_HEADS = (
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING",
    "MODEL_FOR_MASKED_LM_MAPPING",
    "MODEL_FOR_CAUSAL_LM_MAPPING",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
)
_SOUND_FRAMES = 3000  # thirty seconds, as Whisper has them


class Origin(Record):
    """Where a model's description comes from: its config.json, and its own code if that may run."""

    name: str
    config: Mapping[str, Any]
    revision: str = "main"
    trust_remote_code: bool = False


def configured(origin: Origin, recipe: Recipe) -> Any:
    """Return the config of transformers.

    Raises:
        UsageError: transformers doesn't know the model.

    """
    kind = origin.config.get("model_type")
    try:
        if origin.trust_remote_code and "auto_map" in origin.config:
            config = transformers.AutoConfig.from_pretrained(
                origin.name, revision=origin.revision, trust_remote_code=True
            )
        else:
            config = transformers.AutoConfig.for_model(
                kind, **{k: v for k, v in origin.config.items() if k != "model_type"}
            )
    except Exception as error:
        raise UsageError(
            f"{origin.name}: transformers {transformers.__version__} can't read its config.json: {error}"
        ) from None
    config._attn_implementation = "eager" if recipe.attention == "eager" else "sdpa"
    if not getattr(_class(origin, config), "_supports_sdpa", True):
        config._attn_implementation = "eager"
    config.use_cache = False
    if getattr(config, "is_encoder_decoder", False):  # its decoder's inputs are made of the labels
        for name in ("pad_token_id", "decoder_start_token_id"):
            if getattr(config, name, None) is None:
                setattr(config, name, 0)
    if getattr(config, "quantization_config", None) is not None:
        del config.quantization_config
    return config


def build(origin: Origin, config: Any, recipe: Recipe) -> Any:
    """Return the model on the meta device: weights in `weights_dtype`, checkpointed and adapted as the recipe says.

    Raises:
        UsageError: transformers has no such model.

    """
    kind = _class(origin, config)
    with _without_values(), torch.device("meta"):
        if origin.trust_remote_code and "auto_map" in origin.config:
            own = next(key for key in origin.config["auto_map"] if key.startswith("AutoModelFor"))
            model = getattr(transformers, own).from_config(config, trust_remote_code=True)
            model = model.to(getattr(torch, recipe.weights_dtype))
        else:
            model = kind._from_config(config, dtype=getattr(torch, recipe.weights_dtype))
    model.tie_weights()
    model.train()
    if recipe.lora_rank:
        model = _adapted(model, recipe)
    if recipe.gradient_checkpointing != "none":
        _checkpoint(model, recipe)
    return model


def notes(config: Any, recipe: Recipe) -> tuple[str, ...]:
    """Return what a reader should know of a model as built."""
    if recipe.attention != "eager" and config._attn_implementation == "eager":
        return ("This model has no attention but eager in transformers, so that was traced.",)
    return ()


def materialize(model: Any, device: str = "cpu") -> None:
    """Give every tensor of a model on the meta device memory, or what fake tensors have instead; ties stay."""
    made: dict[int, Any] = {}

    def real(tensor: Any) -> Any:
        if id(tensor) not in made:
            empty = torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
            made[id(tensor)] = (
                torch.nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else empty
            )
        return made[id(tensor)]

    known: list[Any] = []  # so that no identity is used twice
    for module in model.modules():
        for place in (module._parameters, module._buffers, module.__dict__):
            for name, tensor in list(place.items()):
                if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
                    known.append(tensor)
                    place[name] = real(tensor)


def vocabulary(config: Any) -> int:
    """Return the number of tokens that the head tells apart; 0 if there is none."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(getattr(text, "vocab_size", 0) or 0)


@contextmanager
def not_packed() -> Generator[None]:
    """Say that a batch has one sequence in each row; transformers would look at the numbers of its positions."""
    masks: Any = import_module("transformers.masking_utils")
    known = getattr(masks, "find_packed_sequence_indices", None)
    if known is None:
        yield
        return

    def none(*_args: Any, **_named: Any) -> None:
        return None

    masks.find_packed_sequence_indices = none
    try:
        yield
    finally:
        masks.find_packed_sequence_indices = known


def batch(config: Any, model: Any, recipe: Recipe) -> dict[str, Any]:
    """Return the inputs of one pass, with labels."""
    rows, length = recipe.batch_size, recipe.seq_len
    name = model.main_input_name
    ids = torch.zeros((rows, length), dtype=torch.int64)
    labels = torch.zeros((rows, length), dtype=torch.int64)
    if name == "pixel_values":
        side = config.image_size if isinstance(config.image_size, int) else config.image_size[0]
        return {name: torch.zeros((rows, config.num_channels, side, side)), "labels": labels[:, 0].contiguous()}
    if name == "input_features":
        return {name: torch.zeros((rows, config.num_mel_bins, _SOUND_FRAMES)), "labels": labels}
    whole = any(
        word in type(_bare(model)).__name__
        for word in ("CausalLM", "LMHead", "MaskedLM", "ConditionalGeneration", "TokenCl")
    )
    return {name: ids, "labels": labels if whole else labels[:, 0].contiguous()}


def _bare(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _class(origin: Origin, config: Any) -> Any:
    for name in getattr(config, "architectures", None) or ():
        if hasattr(transformers, name):
            return getattr(transformers, name)
    for mapping in _HEADS:
        known = getattr(transformers, mapping, {})
        if type(config) in known:
            return known[type(config)]
    if origin.trust_remote_code:
        return None
    raise UsageError(
        f"{origin.name}: transformers {transformers.__version__} has no model with a loss for "
        f"{config.model_type!r}; its own code runs only with --trust_remote_code"
    )


def _without_values() -> Any:
    """Return a context in which a model's weights aren't initialized."""
    for place in ("transformers.initialization", "transformers.modeling_utils"):
        try:
            return import_module(place).no_init_weights()
        except (ImportError, AttributeError):
            continue
    from contextlib import nullcontext

    return nullcontext()


def _adapted(model: Any, recipe: Recipe) -> Any:
    peft: Any = import_module("peft")
    wanted = list(recipe.lora_targets) or "all-linear"
    try:
        found = peft.get_peft_model(
            model,
            peft.LoraConfig(
                r=recipe.lora_rank,
                target_modules=wanted,
                lora_dropout=recipe.lora_dropout,
                modules_to_save=list(recipe.modules_to_save) or None,
            ),
        )
    except ValueError as error:
        raise UsageError(f"--lora_targets: {error}") from None
    for parameter in found.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(getattr(torch, recipe.adapters_dtype))
    return found


def _checkpoint(model: Any, recipe: Recipe) -> None:
    bare = _bare(model)
    if not getattr(bare, "supports_gradient_checkpointing", False):
        raise UsageError(f"--gradient_checkpointing: {type(bare).__name__} has none")
    how: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    if recipe.gradient_checkpointing == "selective":
        how["context_fn"] = _selective
    if hasattr(bare, "activation_checkpointing_enable"):  # transformers since 5.20 or so
        bare.activation_checkpointing_enable(how)
    else:
        bare.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)


def _selective() -> Any:
    """Return contexts that keep attention and every second matrix product, as torchtitan's policy does."""
    checkpoint: Any = import_module("torch.utils.checkpoint")
    ops, policy = torch.ops.aten, checkpoint.CheckpointPolicy
    kept = {
        ops._scaled_dot_product_flash_attention.default,
        ops._scaled_dot_product_efficient_attention.default,
    }
    products = {ops.mm.default, ops.addmm.default}
    counts = {False: 0, True: 0}

    def choose(context: Any, operation: Any, *_args: Any, **_kwargs: Any) -> Any:
        if operation in products:
            counts[context.is_recompute] += 1
            keep = counts[context.is_recompute] % 2 == 1
        else:
            keep = operation in kept
        return policy.MUST_SAVE if keep else policy.PREFER_RECOMPUTE

    return checkpoint.create_selective_checkpoint_contexts(choose)
