"""One device's part of a training step: everything that its memory is computed from."""

from __future__ import annotations

from math import ceil, prod
from typing import Literal

from accel_estimate.training import litgpt, lora, packing
from accel_estimate.training.activations.compute import Compute
from accel_estimate.training.activations.masks import Run
from accel_estimate.training.activations.whole import total
from accel_estimate.training.device.megatron import recomputed
from accel_estimate.training.device.stage import expert_parts
from accel_estimate.training.recipe import WIDTH
from accel_estimate.training.versions import GROUPS_EXPERTS, numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_estimate.model.blueprint import Blueprint
    from accel_estimate.training.activations.whole import Total
    from accel_estimate.training.device.stage import Stage
    from accel_estimate.training.device.trained import Trained
    from accel_estimate.training.loss import Loss
    from accel_estimate.training.recipe import Recipe


class Rank:
    """One device of a training run.

    Attributes:
        width: bytes of a number in the type that the model computes in.
        gradient_width: bytes of a number in a gradient.
        added: parameters of a gradient that is new while the one before is kept.
        adding: the part of a layer's backward pass that has it.
        nested: whether FSDP gathers a layer's mixer by itself.
        padding: how many times as much FSDP holds and gathers of experts, if devices don't divide their number.
        behind: decoder layers whose backward pass is over at a layer's peak: biases have a gradient until the first.
        encoder_layer: parameters of the matrices of an encoder's layer.
        encoder_root: parameters of an encoder outside its layers.
        remakes: whether a checkpointed layer's peak is in its MLP while it makes again what it keeps.
        trains_head: whether the language head is trained.
        master: whether DeepSpeed keeps an fp32 copy of the weights.
        shards: over how many devices ZeRO or FSDP divides the parameters, on average.
        kept: bytes of activations.
        held: bytes of inputs of the pass before, in the forward pass.
        row: bytes of one token between two layers.
        head_reads: bytes of the input of the language head, which is there while the forward pass works out the loss.
        head_input: the same if the head's gradient needs it.
        logits: the number of logits.
        logit_width: bytes of a logit that the model gives, from transformers 4.46 on.
        capped: whether a soft cap keeps the tangent of each.
        loss: how the loss is computed.
        tied: whether the head is the embeddings.

    """

    def __init__(self, stage: Stage, trained: Trained, blueprint: Blueprint, recipe: Recipe) -> None:
        self.stage, self.trained, self.recipe = stage, trained, recipe
        blueprint = litgpt.written(blueprint, recipe)
        self.deepspeed = recipe.zero_stage >= 0
        self.width = recipe.width
        self.gradient_width = self.width if self.deepspeed else trained.width
        self.trains_head = stage.has_head and (recipe.trains_all or "lm_head" in recipe.modules_to_save)
        if self.deepspeed and recipe.gradient_dtype == "float32":
            self.gradient_width = 4
        megatron = recipe.megatron != "none"
        self.master = self.deepspeed and (self.width < WIDTH["float32"] or (recipe.zero_stage > 0 and not megatron))
        self.shards = recipe.shards
        if stage.experts:  # experts that are spread already are divided over fewer devices
            rest = stage.parameters - stage.experts
            same = max(1, recipe.shards * recipe.tp // expert_parts(recipe))  # devices that hold the same experts
            self.shards = stage.parameters / (rest / recipe.shards + stage.experts / same)
        self.padding = self._padding(blueprint)
        if self.padding > 1:
            self.shards = stage.parameters / ((stage.parameters + (self.padding - 1) * self.routed) / recipe.shards)
        self.added = self.routed / (stage.blocks or 1) * stage.largest_block / 3
        self.adding: Literal["layer", "attending"] = "layer"
        tokens = recipe.batch_size * recipe.seq_len / recipe.cp
        for it in () if blueprint.encoder else blueprint.decoder.layers[-1:]:
            if it.mlp:  # or its gradients of more vectors, when that of the matrix is added up
                wide = it.mlp.activation == "gelu_new" and recipe.under_autocast
                vectors = 1 if it.mlp.gated else 4 if wide or it.mlp.activation == "gelu_bloom" else 0
                self.added = max(stage.largest_matrix - vectors * it.mlp.width * tokens, 0)
            if it.space and not it.space.normed:  # one function gives the gradients of three matrices
                self.adding = "attending"
                self.added = stage.mixed
        self.nested = blueprint.nested and recipe.wrap == "layer"
        biased = any(it.attention and it.attention.biased for it in blueprint.decoder.layers)
        self.behind = len(blueprint.decoder.layers) - 1 if biased and recipe.gradient_checkpointing != "none" else 0
        self.encoder_layer = stage.encoder / max(len(blueprint.encoder.layers), 1) if blueprint.encoder else 0.0
        self.encoder_root = sum(prod(shape) for name, shape in blueprint.extras if "encoder." in name) / recipe.tp
        self.remakes = recipe.gradient_checkpointing != "none" and any(
            it.experts.stacked if it.experts else it.attention and it.attention.biased
            for it in blueprint.decoder.layers
        )
        run = Run(
            recipe.batch_size,
            ceil(recipe.seq_len / recipe.cp),
            recipe.gradient_checkpointing,
            tp=recipe.tp,
            sequence=recipe.sequence_parallel,
            share=stage.share,
            gathers_again=megatron and recipe.sequence_parallel,
            recomputed=recomputed(recipe, blueprint),
        )
        self.kept = total(blueprint, run, self._compute(blueprint))
        if not recipe.trains_all and any(it.experts and it.experts.adapts for it in blueprint.decoder.layers):
            self.kept = self._with_experts()
        self.held = packing.held(blueprint, recipe) / recipe.tp * stage.share
        self.row = self.width * blueprint.hidden
        self.head_reads = self.row * tokens if stage.has_head else 0.0
        self.head_input = self.head_reads if self.trains_head else 0.0
        self.capped, self.tied = blueprint.softcap, blueprint.tied
        self.loss: Loss = recipe.loss_kind
        if self.loss == "plain" and blueprint.narrow_loss and not recipe.under_autocast:
            self.loss = "narrow"
        self.logit_width = 4 if self.loss == "plain" and blueprint.wide_logits else self.width
        self.logits = blueprint.vocab * tokens / recipe.tp if stage.has_head else 0

    @property
    def routed(self) -> float:
        """The number of parameters in experts."""
        return self.stage.linear - self.stage.narrowed

    def _padding(self, blueprint: Blueprint) -> float:
        """Return how many times as much the first device holds of experts if FSDP can't divide them evenly."""
        counts = [it.experts.number for it in blueprint.layers() if it.experts]
        alone = numbers(self.recipe.transformers) < GROUPS_EXPERTS  # each expert is divided by itself
        flat = self.recipe.fsdp_version == 1  # a unit's parameters are one flat tensor, which is divided evenly
        if self.recipe.fsdp == "none" or flat or alone or not counts or not self.routed:
            return 1.0
        return ceil(counts[0] / self.recipe.shards) * self.recipe.shards / counts[0]

    def _with_experts(self) -> Total:
        """Return the activations with those of adapted experts: the sum of their weights and what is added."""
        kept, stage = self.kept, self.stage
        routed = self.width * self.routed
        if self.recipe.gradient_checkpointing == "none":
            return kept.replace(kept=kept.kept + routed)
        part = stage.largest_block / (stage.blocks or 1)
        return kept.replace(layer=kept.layer + routed * part)

    def _compute(self, blueprint: Blueprint) -> Compute:
        """Return how the forward pass computes."""
        recipe = self.recipe
        stream = 4 if recipe.autocasts or (recipe.under_autocast and blueprint.norms_stream) else self.width
        cast = self.deepspeed or (
            recipe.fsdp != "none" and recipe.mixed_precision != "no"
        )  # for the pass, to its type
        adapter = 4 if self.trained.adapters and recipe.lora_dtype == "float32" and not cast else self.width
        own = 0 if adapter == self.width == stream else (4 if recipe.mixed_precision == "no" else self.width)
        if recipe.lora_dropout:  # the rest of the input, and a one-byte mask
            own = (own or self.width) + 1
        adapted = frozenset[str]()
        if recipe.framework == "litgpt" and not recipe.trains_all:
            adapted = litgpt.adapted(recipe)
        elif not recipe.trains_all:
            adapted = lora.keys(blueprint, recipe.lora_targets)
        return Compute(
            self.width,
            stream,
            recipe.attention,
            recipe.trains_all,
            adapted,
            adapter_copy=0 if recipe.compile else own,
            keeps_inputs=packing.keeps_inputs(recipe),
            compiled=recipe.compile,
            repeats_keys=recipe.repeats_keys,
            pads=recipe.framework == "litgpt",
            grouped=numbers(recipe.transformers) >= GROUPS_EXPERTS,
            amp=recipe.under_autocast,
            alone=recipe.batch_size == 1,
            wide_sum=blueprint.wide_sum and not recipe.compile,
            cast_sum=recipe.fsdp != "none" and recipe.mixed_precision != "no",
            across=blueprint.encoder_tokens / recipe.seq_len if blueprint.encoder_tokens and blueprint.vocab else 1.0,
        )
