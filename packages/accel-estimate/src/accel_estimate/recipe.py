"""How a model is trained, as far as memory cares, with every combination that cannot work refused."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from accel_estimate.activations import AttentionKind, Checkpointing
from accel_estimate.errors import UsageError
from accel_estimate.loss import Loss
from accel_estimate.optimizers import Optimizer

Precision = Literal["no", "fp16", "bf16", "fp8"]
ParamType = Literal["float32", "bfloat16", "float16"]
Quantize = Literal["none", "int8", "nf4", "nf4-dq", "gptq4"]
Fsdp = Literal["none", "full", "grad_op", "hybrid"]
Device = Literal["none", "cpu", "nvme"]

WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}


class Recipe(NamedTuple):
    """The settings of a training run; sizes are those of one device and one forward pass.

    `seq_len` tokens in each of `batch_size` sequences; `gradient_accumulation` steps keep gradients between them.
    `param_dtype` is the type that weights are held in, `mixed_precision` that of the computation (torch's autocast,
    FSDP's mixed precision, or DeepSpeed's own). `zero_stage` -1: no DeepSpeed;
    `reduce_bucket_size` (elements) and `overlap_comm` are the keys of its config. `wrap`: what FSDP gathers at once.
    `micro_batches`: how many a pipeline works on (0: as many as it has stages).
    """

    optimizer: Optimizer = "adamw"
    mixed_precision: Precision = "no"
    param_dtype: ParamType = "float32"
    batch_size: int = 1
    seq_len: int = 2048
    gradient_accumulation: int = 1
    gradient_checkpointing: Checkpointing = "none"
    attention: AttentionKind = "sdpa"
    lora_rank: int = 0
    lora_targets: tuple[str, ...] = ()
    lora_dtype: ParamType = "float32"
    quantize: Quantize = "none"
    zero_stage: int = -1
    reduce_bucket_size: int = 500_000_000
    overlap_comm: bool = False
    offload_optimizer_device: Device = "none"
    offload_param_device: Device = "none"
    fsdp: Fsdp = "none"
    wrap: Literal["layer", "model"] = "layer"
    num_processes: int = 1
    processes_per_machine: int = 8
    tp: int = 1
    pp: int = 1
    cp: int = 1
    ep: int = 1
    micro_batches: int = 0
    sequence_parallel: bool = True
    compile: bool = False
    loss: Loss | Literal["auto"] = "auto"
    lora_dropout: float = 0.0

    @property
    def loss_kind(self) -> Loss:
        """How the loss is worked out: as transformers does, unless the whole model is compiled."""
        if self.loss == "auto":
            return "compiled" if self.compile else "plain"
        return self.loss

    @property
    def data_parallel(self) -> int:
        """How many devices share the gradients' work: all, over those of one replica (tensor, pipeline, context)."""
        return self.num_processes // (self.tp * self.pp * self.cp)

    @property
    def shards(self) -> int:
        """Over how many devices ZeRO or FSDP divides: data and context parallel ones, or one machine's (hybrid)."""
        if self.zero_stage < 1 and self.fsdp == "none":
            return 1
        both = self.data_parallel * self.cp
        return min(both, max(1, self.processes_per_machine // self.tp)) if self.fsdp == "hybrid" else both

    @property
    def expert_parts(self) -> int:
        """Into how many parts expert and tensor parallelism divide a layer's experts.

        Tensor parallelism splits an expert over as many devices as spreading leaves for that.
        """
        if self.ep == 1:
            return self.tp
        return self.ep * max(1, min(self.tp, self.data_parallel * self.cp * self.tp // self.ep))

    @property
    def expert_shards(self) -> int:
        """Over how many devices ZeRO or FSDP divides experts: those that hold the same ones."""
        return max(1, self.shards * self.tp // self.expert_parts)

    @property
    def width(self) -> int:
        """Bytes of a number in the type that the model computes in."""
        return WIDTH[self.param_dtype] if self.mixed_precision == "no" else 2

    @property
    def autocasts(self) -> bool:
        """Whether torch's autocast casts for narrow products (DeepSpeed and FSDP cast the weights instead)."""
        return (
            self.mixed_precision != "no"
            and self.param_dtype == "float32"
            and self.zero_stage < 0
            and self.fsdp == "none"
        )

    @property
    def offloads_states(self) -> bool:
        """Whether gradients and the optimizer are on the CPU (FSDP takes them along with the weights)."""
        return self.offload_optimizer_device != "none" or (
            self.fsdp != "none" and self.offload_param_device != "none"
        )

    @property
    def trains_all(self) -> bool:
        """Whether the model's own weights are trained."""
        return self.lora_rank == 0


def check(recipe: Recipe) -> None:
    """Refuse what cannot work.

    Raises:
        UsageError: names the settings that do not go together, and the way out.

    """
    for name in (
        "batch_size",
        "seq_len",
        "gradient_accumulation",
        "num_processes",
        "processes_per_machine",
        "tp",
        "pp",
        "cp",
        "ep",
    ):
        if getattr(recipe, name) < 1:
            raise UsageError(f"--{name}: must be at least 1, not {getattr(recipe, name)}.")
    for name in ("lora_rank", "micro_batches", "reduce_bucket_size"):
        if getattr(recipe, name) < 0:
            raise UsageError(f"--{name}: must not be negative.")
    for wrong, message in _REFUSALS:
        if wrong(recipe):
            raise UsageError(message)
    replica = recipe.tp * recipe.pp * recipe.cp
    if recipe.num_processes % replica:
        raise UsageError(f"--num_processes {recipe.num_processes} is no multiple of tp x pp x cp = {replica}.")
    if (recipe.data_parallel * recipe.cp * recipe.tp) % recipe.ep:
        raise UsageError(
            f"--ep {recipe.ep} does not divide the {recipe.data_parallel * recipe.cp * recipe.tp} "
            "processes of a pipeline stage."
        )


_ZERO_3 = 3

_REFUSALS: tuple[tuple[Callable[[Recipe], bool], str], ...] = (
    (lambda r: not -1 <= r.zero_stage <= _ZERO_3, "--zero_stage: 0, 1, 2 or 3, or -1 for no DeepSpeed."),
    (lambda r: not 0 <= r.lora_dropout < 1, "--lora_dropout: from 0 to less than 1."),
    (lambda r: r.zero_stage >= 0 and r.fsdp != "none", "--zero_stage and --fsdp: choose one."),
    (lambda r: r.quantize != "none" and r.trains_all,
     "--quantize: packed weights cannot be trained themselves; add --lora_rank."),
    (lambda r: bool(r.lora_targets) and r.trains_all, "--lora_targets: has no effect without --lora_rank."),
    (lambda r: r.offload_optimizer_device != "none" and r.zero_stage < 1,
     "--offload_optimizer_device: needs --zero_stage 1, 2 or 3."),
    (lambda r: r.offload_param_device != "none" and r.zero_stage < _ZERO_3 and r.fsdp == "none",
     "--offload_param_device: needs --zero_stage 3 or --fsdp."),
)  # fmt: skip
