"""What a training step takes on one device, moment by moment.

The arithmetic of model states is ZeRO's (arXiv 1910.02054, sections 3 and 5) for DeepSpeed, torch's own types for
the rest; activations are in `activations`, the loss in `loss`. Every constant below says where it comes from.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from math import ceil, prod
from typing import NamedTuple

from accel_estimate import activations, layout, lora, loss, optimizers
from accel_estimate.blueprint import Blueprint
from accel_estimate.bytesize import GIB
from accel_estimate.errors import UsageError
from accel_estimate.precision import QUANTIZATIONS, packed_bytes
from accel_estimate.recipe import WIDTH, Recipe, check
from accel_estimate.tensors import Listing, gather
from accel_estimate.weights import Weight

LIVE_PARAMETERS = 1_000_000_000
"""Parameters that ZeRO-3 keeps gathered (`stage3_max_live_parameters`), in elements."""

SUB_GROUP = 1_000_000_000
"""Parameters that ZeRO-3 steps at a time (`sub_group_size`), in elements."""


def _range(low: float, high: float) -> tuple[float, float, float]:
    """Give low, expected and high: what is expected of a published range is its middle."""
    return low, (low + high) / 2, high


CONTEXT = _range(0.3 * GIB, 1.3 * GIB)
"""CUDA context and kernels, in bytes: 0.3 GiB is the least seen on A100 and H100, and the transformers documentation
measured 1343 MiB on a V100 (docs/source/en/model_memory_anatomy.md)."""

NCCL = _range(0.2 * GIB, 2.0 * GIB)
"""NCCL's buffers, in bytes, by the number of communicators (4 MiB a channel and peer, NCCL_BUFFSIZE)."""

SLACK = _range(0.0, 0.25)
"""What the caching allocator holds above what is allocated, as a part of it. Reserved was 20 to 37 % above active in
eight FSDP runs that pull requests of torchtitan and llama-cookbook report; steady shapes on one device need none."""

UNCOUNTED = 0.25
"""What a careless implementation may keep or copy beyond the operations that `activations` counts, as a part of
them; in `high` only. LitGPT's runs in tests/estimate/measured keep up to a quarter more a token."""

_ZERO_2, _ZERO_3 = 2, 3


class Parts(NamedTuple):
    """Bytes on one device at one moment."""

    weights: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    communication: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self)


class Moment(NamedTuple):
    """A moment of the step that may be its peak."""

    name: str
    why: str
    parts: Parts


class Assumptions(NamedTuple):
    """What differs between implementations of the same recipe.

    `foreach`: the optimizer makes one temporary tensor for every one it steps. `keeps_fp32_logits`: the output
    holds the fp32 copy of the logits too (transformers before 4.45). `repeats_keys`: keys and values are repeated for
    every query head before attention. `keeps_inputs`: packed products keep their inputs (bitsandbytes before 0.44).
    """

    compiled: bool = False
    keeps_inputs: bool = False
    foreach: bool = False
    keeps_fp32_logits: bool = False
    repeats_keys: bool = False


class Stage(NamedTuple):
    """What one device holds before ZeRO or FSDP divide it, in parameters, and its share of the pipeline's work.

    `blocks` hold `experts`, which is 0 unless they are spread over devices.
    """

    blocks: float
    experts: float
    root: float
    head: float
    linear: float
    packed: float
    largest_block: float
    largest_matrix: float
    share: float
    in_flight: int
    has_head: bool

    @property
    def parameters(self) -> float:
        """All of them."""
        return self.blocks + self.root


class Trained(NamedTuple):
    """What is trained on one device before division: parameters, bytes of a weight and of its gradient, states."""

    parameters: float
    width: int
    states: float
    adapters: float


class Estimate(NamedTuple):
    """The memory of one device, in bytes.

    `low`, `expected`, `high`: what the device must have, with the allocator's slack, the CUDA context and NCCL.
    `allocated`: the expected peak of torch.cuda.max_memory_allocated; `reserved`: of max_memory_reserved; both with
    their own low and high.
    """

    low: float
    expected: float
    high: float
    peak: Moment
    moments: tuple[Moment, ...]
    overhead: float
    allocated: tuple[float, float, float]
    reserved: tuple[float, float, float]
    trainable: float


def estimate(
    weights: Sequence[Weight], plan: Blueprint, recipe: Recipe, known: Assumptions | None = None
) -> Estimate:
    """Estimate the memory of one training step; `known` says what is known of the implementation.

    low: the same recipe with every fusion that torch.compile makes. high: with every temporary of the least careful
    implementation.

    Raises:
        UsageError: the recipe cannot work, or names adapters that fit no layer.

    """
    check(recipe)
    parts = _parts(weights, plan, recipe)
    usual = (known or Assumptions())._replace(compiled=recipe.compile)
    expected = _moments(parts, plan, recipe, usual)
    best = recipe if recipe.loss_kind != "plain" else recipe._replace(loss="compiled")
    worst = Assumptions(
        recipe.compile, recipe.quantize != "none", foreach=True, keeps_fp32_logits=True, repeats_keys=True
    )
    low = _peak(_moments(parts, plan, best, Assumptions(compiled=True))).parts.total
    careless = max(_careless(moment.parts) for moment in _moments(parts, plan, recipe, worst))
    peak = _peak(expected)
    allocated = (min(low, peak.parts.total), peak.parts.total, max(careless, peak.parts.total))
    reserved = tuple(bytes_ * (1 + slack) for bytes_, slack in zip(allocated, SLACK, strict=True))
    runtime = [CONTEXT[i] + (NCCL[i] if recipe.num_processes > 1 else 0) for i in range(3)]
    device = [held + runtime[i] for i, held in enumerate(reserved)]
    return Estimate(
        device[0],
        device[1],
        device[2],
        peak,
        tuple(expected),
        device[1] - allocated[1],
        allocated,
        (reserved[0], reserved[1], reserved[2]),
        parts.trained.parameters,
    )


def _careless(parts: Parts) -> float:
    return parts.total + UNCOUNTED * parts.activations


def _peak(moments: Sequence[Moment]) -> Moment:
    return max(moments, key=lambda moment: moment.parts.total)


class _Parts(NamedTuple):
    """What is worked out of the weights once for every set of assumptions."""

    held: list[tuple[Stage, Trained]]
    trained: Trained


def _parts(weights: Sequence[Weight], plan: Blueprint, recipe: Recipe) -> _Parts:
    train = trained(weights, plan, recipe)
    whole = sum(weight.parameters for weight in weights) or 1
    held = [(stage, _share(train, stage, recipe, whole)) for stage in stages(weights, plan, recipe)]
    return _Parts(held, train)


def _moments(parts: _Parts, plan: Blueprint, recipe: Recipe, how: Assumptions) -> list[Moment]:
    found = [_Step(stage, train, plan, recipe, how).moments() for stage, train in parts.held]
    return max(found, key=lambda moments: _peak(moments).parts.total)


def trained(weights: Sequence[Weight], plan: Blueprint, recipe: Recipe) -> Trained:
    """Count what is trained: every parameter, or the adapters alone (fp32 unless `lora_dtype` says otherwise)."""
    if recipe.trains_all:
        shapes: Counter[tuple[int, ...]] = Counter()
        for weight in weights:
            shapes[weight.shape or (weight.parameters // weight.copies,)] += weight.copies if weight.parameters else 0
        count = sum(weight.parameters for weight in weights)
        width = 4 if recipe.zero_stage >= 0 else WIDTH[recipe.param_dtype]
        return Trained(count, width, optimizers.state_bytes(shapes, recipe.optimizer, width), 0)
    chosen = lora.targets(weights, recipe.lora_targets)
    known: dict[str, tuple[int, ...]] = {}
    if any(not weight.shape for weight in chosen):
        described, _ = gather([Listing.of(layout.tensors(plan))])
        known = {tensor.module: tensor.shape for tensor in described if tensor.name.endswith("weight")}
    shapes = lora.shapes(chosen, recipe.lora_rank, known)
    count = sum(prod(shape) * number for shape, number in shapes.items())
    width = 4 if recipe.zero_stage >= 0 else WIDTH[recipe.lora_dtype]
    return Trained(count, width, optimizers.state_bytes(shapes, recipe.optimizer, width), count)


def _share(train: Trained, stage: Stage, recipe: Recipe, whole: float) -> Trained:
    """Give the part of what is trained that one stage holds; adapters go with their layers."""
    part = stage.parameters / whole if recipe.trains_all else stage.share / recipe.tp
    return Trained(train.parameters * part, train.width, train.states * part, train.adapters * part)


def stages(weights: Sequence[Weight], plan: Blueprint, recipe: Recipe) -> list[Stage]:
    """Divide the parameters over tensor, expert and pipeline parallelism; give the first and the last stage.

    Tensor parallelism splits every matrix and the vocabulary; norms and biases are too small to tell. The first stage
    of a pipeline (1F1B) holds the embeddings and up to `pp` micro-batches, the last the head and one.

    Raises:
        UsageError: there are more stages than layers.

    """
    blocks = [weight for weight in weights if weight.block]
    parts = [recipe.expert_parts if _spreads(weight, recipe) else recipe.tp for weight in blocks]
    kept = [weight.parameters / part for weight, part in zip(blocks, parts, strict=True)]
    sizes: dict[str, float] = {}
    for weight, parameters in zip(blocks, kept, strict=True):
        sizes[weight.block] = sizes.get(weight.block, 0) + parameters
    layers = max(len(sizes), 1)
    if recipe.pp > layers:
        raise UsageError(f"--pp {recipe.pp}: the model has only {layers} layers to divide.")
    share = ceil(layers / recipe.pp) / layers
    linear = [(parameters, weight.copies) for weight, parameters in zip(blocks, kept, strict=True) if weight.linear]
    head = plan.vocab * plan.hidden
    root = sum(weight.parameters for weight in weights if not weight.block)
    packed = 0.0
    if recipe.quantize != "none":
        how = QUANTIZATIONS[recipe.quantize]
        packed = sum(packed_bytes(w, how) / part for w, part in zip(blocks, parts, strict=True) if w.linear)

    def stage(parameters: float, in_flight: int, *, has_head: bool) -> Stage:
        return Stage(
            sum(kept) * share,
            sum(n for weight, n in zip(blocks, kept, strict=True) if _spreads(weight, recipe)) * share,
            parameters / recipe.tp,
            head / recipe.tp,
            sum(parameters for parameters, _ in linear) * share,
            packed * share,
            max(sizes.values(), default=0),
            max((parameters / copies for parameters, copies in linear), default=0),
            share,
            in_flight,
            has_head,
        )

    if recipe.pp == 1:
        return [stage(root, 1, has_head=plan.vocab > 0)]
    first = root - (0 if plan.tied else min(head, root))
    flying = min(recipe.pp, recipe.micro_batches or recipe.pp)
    return [stage(first, flying, has_head=False), stage(head, 1, has_head=plan.vocab > 0)]


def _spreads(weight: Weight, recipe: Recipe) -> bool:
    """Whether it is an expert's, and those are spread over devices."""
    return recipe.ep > 1 and "experts" in weight.name and "shared" not in weight.name


class _Step:
    """One training step on one device."""

    def __init__(self, stage: Stage, train: Trained, plan: Blueprint, recipe: Recipe, how: Assumptions) -> None:
        self.stage, self.trained, self.plan, self.recipe, self.how = stage, train, plan, recipe, how
        self.deepspeed = recipe.zero_stage >= 0
        self.width = recipe.width
        self.gradient_width = self.width if self.deepspeed else train.width
        self.master = self.deepspeed and (self.width < WIDTH["float32"] or recipe.zero_stage > 0)
        self.shards = recipe.shards
        if stage.experts:  # those that are spread already are divided over fewer devices
            rest = stage.parameters - stage.experts
            self.shards = stage.parameters / (rest / recipe.shards + stage.experts / recipe.expert_shards)
        tokens = recipe.batch_size * recipe.seq_len / recipe.cp
        run = activations.Run(
            recipe.batch_size,
            ceil(recipe.seq_len / recipe.cp),
            recipe.gradient_checkpointing,
            tp=recipe.tp,
            sequence=recipe.sequence_parallel,
            share=stage.share,
        )
        self.kept = activations.total(plan, run, self.compute())
        self.head_input = self.width * plan.hidden * tokens if recipe.trains_all and stage.has_head else 0
        self.logits = plan.vocab * tokens / recipe.tp if stage.has_head else 0

    def compute(self) -> activations.Compute:
        """Say how the forward pass is computed."""
        recipe = self.recipe
        stream = 4 if recipe.autocasts else self.width
        adapter = 4 if self.trained.adapters and recipe.lora_dtype == "float32" and not self.deepspeed else self.width
        own = 0 if adapter == self.width == stream else (4 if recipe.mixed_precision == "no" else self.width)
        if recipe.lora_dropout:  # what is left of the input, and a one-byte mask
            own = (own or self.width) + 1
        return activations.Compute(
            self.width, stream, recipe.attention, recipe.trains_all,
            frozenset() if recipe.trains_all else lora.keys(self.plan, recipe.lora_targets),
            adapter_copy=0 if self.how.compiled else own,
            keeps_inputs=recipe.quantize == "int8" or (recipe.quantize != "none" and self.how.keeps_inputs),
            compiled=self.how.compiled, repeats_keys=self.how.repeats_keys,
        )  # fmt: skip

    def held(self) -> float:
        """Bytes of the weights that stay here.

        DeepSpeed holds a narrow copy (its fp32 master is counted with the optimizer); quantised: packed matrices, the
        rest in `param_dtype`; adapters in their own type. ZeRO-3 and FSDP hold one part of `shards`.
        """
        recipe, stage = self.recipe, self.stage
        width = self.width if self.deepspeed else WIDTH[recipe.param_dtype]
        if recipe.quantize == "none":
            whole = stage.parameters * width
        else:
            whole = stage.packed + (stage.parameters - stage.linear) * width
        adapters = self.trained.adapters * (self.width if self.deepspeed else self.trained.width)
        if recipe.offload_param_device != "none":
            return 0.0
        return (whole + adapters) / (self.shards if recipe.zero_stage == _ZERO_3 or recipe.fsdp != "none" else 1)

    def casts(self, layers: float, *, head: bool) -> float:
        """Bytes of the narrow copies of fp32 weights that autocast makes: of `layers` parameters, and of the head.

        autograd keeps a copy until it has been used in the backward pass; autocast's cache keeps those of trained
        weights to the end of the forward pass, and with checkpointing that is all there is of them.
        transformer-engine keeps two fp8 copies, one turned, in their place: as many bytes.
        """
        if not self.recipe.autocasts or self.recipe.quantize != "none":
            return 0.0
        return 2 * (layers + (self.stage.head if head and self.stage.has_head else 0))

    def gradients(self) -> float:
        """Bytes of all gradients once the backward pass is through.

        torch keeps them in the type of the weight. DeepSpeed's are narrow; ZeRO-2 and 3 and FSDP keep one part of
        `shards`, and none with the optimizer offloaded, or FSDP's weights: those go to the CPU as they come. ZeRO-1
        reduces them when all are there.
        """
        recipe = self.recipe
        divided = recipe.zero_stage >= _ZERO_2 or recipe.fsdp != "none"
        if divided and recipe.offloads_states:
            return 0.0
        return self.trained.parameters * self.gradient_width / (self.shards if divided else 1)

    def optimizer(self) -> float:
        """Bytes of the optimizer's states and, with DeepSpeed, of the fp32 master copy.

        Without ZeRO only narrow weights have one.
        """
        recipe = self.recipe
        if recipe.offloads_states:
            return 0.0
        master = 4 * self.trained.parameters if self.master else 0
        return (self.trained.states + master) / self.shards

    def communication(self) -> float:
        """Bytes of buffers and gathered weights while layers run.

        DDP: buckets as large as all gradients. ZeRO: the reduce bucket, and with stage 3 the live parameters. FSDP:
        the root's weights and two layers' (the running one and the next), or all of them (grad_op, or one unit).
        """
        recipe = self.recipe
        if recipe.fsdp != "none":
            return self._gathered() * self.width
        if self.deepspeed:
            return self.bucket() + (self.live() if recipe.zero_stage == _ZERO_3 else 0)
        if recipe.data_parallel * recipe.cp > 1:
            return self.trained.parameters * self.trained.width
        return 0.0

    def bucket(self) -> float:
        """Bytes of DeepSpeed's reduce bucket, which is made whole however few gradients there are; two, to overlap.

        (deepspeed/runtime/zero/stage_1_and_2.py, `ipg_buffer`; stage3.py has one.)
        """
        buckets = 2 if self.recipe.overlap_comm and self.recipe.zero_stage < _ZERO_3 else 1
        return buckets * self.recipe.reduce_bucket_size * self.width if self.recipe.zero_stage > 0 else 0.0

    def live(self) -> float:
        """Bytes of the weights that ZeRO-3 keeps gathered."""
        return min(LIVE_PARAMETERS, self.stage.parameters) * self.width

    def _gathered(self) -> float:
        if self.recipe.shards == 1:
            return 0.0
        if self.recipe.fsdp == "grad_op" or self.recipe.wrap == "model":
            return self.stage.parameters
        return min(self.stage.root + 2 * self.stage.largest_block, self.stage.parameters)

    def unsharded(self) -> float:
        """Bytes of the gradients that FSDP has not scattered yet: those of the root and of one layer, or of all."""
        if self.recipe.fsdp == "none" or not self.recipe.trains_all or self.recipe.shards == 1:
            return 0.0
        if self.recipe.wrap == "model":
            return self.stage.parameters * self.width
        return min(self.stage.root + self.stage.largest_block, self.stage.parameters) * self.width

    def dequantized(self) -> float:
        """Bytes of packed matrices unpacked while a layer runs.

        bitsandbytes unpacks one matrix at a time. GPTQ's layers are written in torch's own operations, so autograd
        keeps a layer's unpacked matrices, and unpacking one makes an int32, two int8 and one 16-bit copy of it
        (auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py).
        """
        if self.recipe.quantize in ("none", "int8"):
            return 0.0
        if self.recipe.quantize == "gptq4":
            return 2 * self.stage.largest_block + 8 * self.stage.largest_matrix
        return 2 * self.stage.largest_matrix

    def stepping(self) -> float:
        """Bytes that only the optimizer's step needs: DeepSpeed's fp32 copy of its part of the gradients."""
        recipe, part = self.recipe, self.trained.parameters / self.shards
        if recipe.offloads_states:
            return 0.0
        stepped = min(part, SUB_GROUP) if recipe.zero_stage == _ZERO_3 else part
        copies = (4 if self.master else 0) + (self.trained.width if self.how.foreach else 0)
        return copies * stepped

    def moments(self) -> list[Moment]:
        """Give every moment that may be the peak."""
        return [self._forward(), self._loss(), self._backward_begins(), self._backward_ends(), self._steps()]

    def _standing(self) -> Parts:
        recipe = self.recipe
        before = self.gradients() if recipe.gradient_accumulation > 1 else 0.0
        return Parts(
            self.held(),
            before,
            self.optimizer(),
            self.kept.kept * self.stage.in_flight + self.head_input,
            0.0,
            self.communication(),
        )

    def _per_logit(self, count: Callable[[int, loss.Loss], float]) -> float:
        kind = self.recipe.loss_kind
        more = 4 if self.how.keeps_fp32_logits and kind == "plain" else 0
        return (count(self.width, kind) + more) * self.logits

    def _forward(self) -> Moment:
        at = self._standing()
        layers = self.stage.linear if self.recipe.trains_all else self._casts_kept()
        return Moment(
            "end of the forward pass",
            "all kept activations, and the loss being worked out",
            at._replace(weights=at.weights + self.casts(layers, head=True), logits=self._per_logit(loss.forward)),
        )

    def _casts_kept(self) -> float:
        """Give the parameters of the layers whose narrow copies are kept for the backward pass."""
        return self.stage.linear if self.recipe.gradient_checkpointing == "none" else 0.0

    def _loss(self) -> Moment:
        at = self._standing()
        casts = self.casts(self._casts_kept(), head=True)
        return Moment(
            "begin of the backward pass, in the loss",
            "all kept activations, and the logits with their gradients",
            at._replace(weights=at.weights + casts, logits=self._per_logit(loss.backward)),
        )

    def _backward_begins(self) -> Moment:
        at = self._standing()
        # A layer that is checkpointed makes its copies again.
        casts = self.casts(self._casts_kept() or self.stage.largest_block, head=False)
        head = self.stage.head * self.gradient_width if self.recipe.trains_all and self.stage.has_head else 0.0
        divided = self.shards if self.recipe.fsdp != "none" or self.recipe.zero_stage >= _ZERO_2 else 1
        return Moment(
            "begin of the backward pass, in the last layer",
            "all kept activations, and one layer's whole activations and gradients",
            at._replace(
                weights=at.weights + casts,
                gradients=max(at.gradients, min(head / divided, self.gradients())),
                activations=at.activations + self.kept.layer + self.dequantized(),
                communication=at.communication + self.unsharded(),
            ),
        )

    def _backward_ends(self) -> Moment:
        at = self._standing()
        return Moment(
            "end of the backward pass",
            "all gradients, and the first layer's activations",
            at._replace(
                weights=at.weights + self.casts(self.stage.largest_block, head=False),
                gradients=self.gradients(),
                activations=self.kept.layer + self.dequantized(),
                communication=at.communication + self.unsharded(),
            ),
        )

    def _steps(self) -> Moment:
        at = self._standing()
        idle = self.communication() if self.recipe.fsdp == "none" else 0.0
        return Moment(
            "optimizer step",
            "weights, all gradients and the optimizer's states",
            at._replace(
                gradients=self.gradients(),
                optimizer=at.optimizer + self.stepping(),
                activations=0.0,
                communication=idle,
            ),
        )
