"""One device's part of a training step: everything that its memory is computed from."""

from __future__ import annotations

from math import ceil

from accel_estimate.training import lora
from accel_estimate.training.activations.compute import Compute
from accel_estimate.training.activations.whole import Run, total
from accel_estimate.training.recipe import WIDTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.training.assumptions import Assumptions
    from accel_estimate.training.device.stage import Stage
    from accel_estimate.training.device.trained import Trained
    from accel_estimate.training.recipe import Recipe


class Rank:
    """One device of a training run.

    Attributes:
        width: bytes of a number in the type that the model computes in.
        gradient_width: bytes of a number in a gradient.
        master: whether DeepSpeed keeps an fp32 copy of the weights.
        shards: over how many devices ZeRO or FSDP divides the parameters, on average.
        kept: bytes of activations.
        head_input: bytes of the input of the language head, which its gradient needs.
        logits: the number of logits.

    """

    def __init__(
        self, stage: Stage, trained: Trained, blueprint: Blueprint, recipe: Recipe, how: Assumptions
    ) -> None:
        self.stage, self.trained, self.recipe, self.how = stage, trained, recipe, how
        self.deepspeed = recipe.zero_stage >= 0
        self.width = recipe.width
        self.gradient_width = self.width if self.deepspeed else trained.width
        self.master = self.deepspeed and (self.width < WIDTH["float32"] or recipe.zero_stage > 0)
        self.shards = recipe.shards
        if stage.experts:  # experts that are spread already are divided over fewer devices
            rest = stage.parameters - stage.experts
            self.shards = stage.parameters / (rest / recipe.shards + stage.experts / recipe.expert_shards)
        tokens = recipe.batch_size * recipe.seq_len / recipe.cp
        run = Run(
            recipe.batch_size,
            ceil(recipe.seq_len / recipe.cp),
            recipe.gradient_checkpointing,
            tp=recipe.tp,
            sequence=recipe.sequence_parallel,
            share=stage.share,
        )
        self.kept = total(blueprint, run, self._compute(blueprint))
        self.head_input = self.width * blueprint.hidden * tokens if recipe.trains_all and stage.has_head else 0
        self.logits = blueprint.vocab * tokens / recipe.tp if stage.has_head else 0

    def _compute(self, blueprint: Blueprint) -> Compute:
        """Return how the forward pass computes."""
        recipe = self.recipe
        stream = 4 if recipe.autocasts else self.width
        adapter = 4 if self.trained.adapters and recipe.lora_dtype == "float32" and not self.deepspeed else self.width
        own = 0 if adapter == self.width == stream else (4 if recipe.mixed_precision == "no" else self.width)
        if recipe.lora_dropout:  # the rest of the input, and a one-byte mask
            own = (own or self.width) + 1
        return Compute(
            self.width,
            stream,
            recipe.attention,
            recipe.trains_all,
            frozenset() if recipe.trains_all else lora.keys(blueprint, recipe.lora_targets),
            adapter_copy=0 if self.how.compiled else own,
            keeps_inputs=recipe.quantize == "int8" or (recipe.quantize != "none" and self.how.keeps_inputs),
            compiled=self.how.compiled,
            repeats_keys=self.how.repeats_keys,
        )
