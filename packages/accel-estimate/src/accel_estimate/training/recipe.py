"""How a model is trained, as far as memory depends on it; impossible combinations are rejected.

The flags of the command are derived from the live hints of `Recipe`, so this module must not use
`from __future__ import annotations`.
"""

from typing import Literal

from accel_config.record import Record
from accel_estimate.devices import cards
from accel_estimate.errors import UsageError, check_number
from accel_estimate.training.activations.compute import AttentionKind, Checkpointing
from accel_estimate.training.activations.recomputed import RECOMPUTED
from accel_estimate.training.loss import Loss
from accel_estimate.training.optimizers import Optimizer, OptimizerForm
from accel_estimate.training.versions import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

Precision = Literal["no", "fp16", "bf16", "fp8"]
ParamType = Literal["float32", "bfloat16", "float16"]
Quantize = Literal["none", "int8", "nf4", "nf4-dq", "gptq4"]
Fsdp = Literal["none", "full", "grad_op", "hybrid"]
Device = Literal["none", "cpu", "nvme"]
Megatron = Literal["none", "whole", "distributed"]

WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
ZERO_2, ZERO_3 = 2, 3


class Recipe(Record):
    """The settings of a training run; sizes are those of one device and one forward pass."""

    optimizer: Optimizer = "adamw"
    """The optimizer; its states are counted for each trained parameter."""
    optimizer_form: OptimizerForm = "foreach"
    """How torch's own optimizer steps: all tensors at once (its default on CUDA), in one kernel, or one by one."""
    mixed_precision: Precision = "no"
    """Number format of the computation: torch's autocast, FSDP's mixed precision, or DeepSpeed's own."""
    param_dtype: ParamType = "float32"
    """Number format of the weights."""
    gradient_dtype: Literal["auto", "float32"] = "auto"
    """Number format in which FSDP and DeepSpeed reduce and keep gradients; ``auto``: that of the computation."""
    batch_size: int = 1
    """Sequences on one device in one forward pass."""
    seq_len: int = 2048
    """Tokens in each sequence; of the longest pass if lengths vary."""
    lengths: Literal["equal", "varied"] = "equal"
    """Whether the sequences of all passes are as long as each other (packed or padded), or vary from pass to pass."""
    gradient_accumulation: int = 1
    """Forward passes for each step of the optimizer."""
    gradient_checkpointing: Checkpointing = "none"
    """Which activations are computed again in the backward pass."""
    use_reentrant: Literal["auto", "true", "false"] = "auto"
    """Whether checkpointing is torch's reentrant form; ``auto``: as in the version of transformers."""
    attention: AttentionKind = "sdpa"
    """The implementation of attention."""
    lora_rank: int = 0
    """Rank of LoRA's adapters; 0: the model's own weights are trained."""
    lora_targets: tuple[str, ...] = ()
    """Linear layers with an adapter; empty: all but the head."""
    modules_to_save: tuple[str, ...] = ()
    """Modules that are trained as a whole beside the adapters, as copies (peft's setting of that name)."""
    lora_dtype: ParamType = "float32"
    """Number format of the adapters."""
    quantize: Quantize = "none"
    """Number format of the frozen weights under LoRA."""
    zero_stage: int = -1
    """DeepSpeed's ZeRO stage; -1: no DeepSpeed."""
    reduce_bucket_size: int = 500_000_000
    """Elements of DeepSpeed's buffer for reducing gradients."""
    overlap_comm: bool = False
    """Whether DeepSpeed overlaps communication with the backward pass, which takes a second buffer."""
    offload_optimizer_device: Device = "none"
    """Where optimizer states are kept."""
    offload_param_device: Device = "none"
    """Where parameters are kept."""
    fsdp: Fsdp = "none"
    """FSDP's sharding."""
    fsdp_version: int = 2
    """FSDP's version: 1 holds what it has checkpointed of frozen layers longer, see `training/reentrant.py`."""
    wrap: Literal["layer", "model"] = "layer"
    """What FSDP gathers at once: one layer, or the whole model."""
    num_processes: int = 1
    """Devices over all machines."""
    processes_per_machine: int = 8
    """Devices of one machine."""
    tp: int = 1
    """Devices that each layer is divided over (tensor parallel)."""
    pp: int = 1
    """Groups of devices that the layers are divided over (pipeline parallel)."""
    cp: int = 1
    """Devices that each sequence is divided over (context parallel)."""
    ep: int = 1
    """Devices that the experts are divided over (expert parallel)."""
    megatron: Megatron = "none"
    """Whether Megatron-LM trains, and its optimizer: whole on each device, or distributed over the replicas."""
    micro_batches: int = 0
    """Micro-batches that a pipeline works on; 0: as many as it has stages."""
    virtual_stages: int = 1
    """Groups of layers on each stage of a pipeline; above 1, its schedule is interleaved."""
    recompute_modules: tuple[str, ...] = ()
    """Modules that Megatron-LM's selective checkpointing computes again; empty: the core of attention."""
    recompute_method: Literal["uniform", "block"] = "uniform"
    """Layers of Megatron-LM's full checkpointing: all of them in units, or the first of each group alone."""
    recompute_num_layers: int = 1
    """Layers in such a unit, or the number of those at the start of each group."""
    sequence_parallel: bool = True
    """Whether tensor parallelism also divides activations along the sequence."""
    expandable_segments: bool = False
    """Whether torch's allocator grows its segments (``PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True``)."""
    compile: bool = False
    """Whether ``torch.compile`` compiles the whole model."""
    loss: Loss | Literal["auto"] = "auto"
    """How the loss is computed; ``auto``: as in transformers."""
    outputs: Literal["kept", "freed"] = "kept"
    """Whether the script holds the model's output, and the logits in it, during the backward pass."""
    transformers: str = "5.0"
    """The version of transformers, which decides on the plain loss, the logits in the output, and experts."""
    framework: Literal["transformers", "litgpt"] = "transformers"
    """Whose code of the model, of adapters and of packing runs: that of transformers and peft, or LitGPT's."""
    bitsandbytes: str = "0.50"
    """The version of bitsandbytes: before 0.43.2, 4-bit products keep their inputs."""
    gptq_kernel: Literal["torch", "triton"] = "torch"
    """What unpacks GPTQ's matrices: torch's operations, of which autograd keeps a layer's, or one kernel for each."""
    repeats_keys: bool = False
    """Whether keys and values are repeated for every query head before attention."""
    lora_dropout: float = 0.0
    """Dropout before LoRA's adapters; above 0 it keeps a mask and a copy of their input."""
    sync_each_batch: bool = False
    """Whether FSDP divides the gradients after every pass of a step, not after the last alone."""
    card: str = ""
    """The kind of device, for its CUDA context; empty: any that computes."""
    optimizer_in_backward: bool = False
    """Whether each parameter is stepped as soon as its gradient is there, which is freed then."""

    @property
    def loss_kind(self) -> Loss:
        """How the loss is computed: as in transformers, unless the whole model is compiled."""
        return ("compiled" if self.compile else "plain") if self.loss == "auto" else self.loss

    @property
    def data_parallel(self) -> int:
        """The number of replicas: all devices, divided by those of one replica (tensor, pipeline, context)."""
        return self.num_processes // (self.tp * self.pp * self.cp)

    @property
    def shards(self) -> int:
        """The number of devices over which ZeRO or FSDP divides: data and context parallel; hybrid: in a machine."""
        if self.zero_stage < 1 and self.fsdp == "none":
            return 1
        both = self.data_parallel * self.cp
        return min(both, max(1, self.processes_per_machine // self.tp)) if self.fsdp == "hybrid" else both

    @property
    def upcasts(self) -> bool:
        """Whether trained weights become float32: Accelerate makes them so under FSDP with mixed precision."""
        return self.fsdp != "none" and self.mixed_precision != "no" and self.quantize == "none"

    @property
    def weights_dtype(self) -> ParamType:
        """Number format of the weights on a device; `param_dtype` is that in which they are loaded."""
        return "float32" if self.upcasts and self.trains_all else self.param_dtype

    @property
    def adapters_dtype(self) -> ParamType:
        """Number format of the adapters on a device."""
        return "float32" if self.upcasts else self.lora_dtype

    @property
    def width(self) -> int:
        """Bytes of a number in the type that the model computes in."""
        return WIDTH[self.param_dtype] if self.mixed_precision == "no" else 2

    @property
    def under_autocast(self) -> bool:
        """Whether the forward pass runs under torch's autocast; Accelerate has FSDP cast the weights besides."""
        return self.mixed_precision != "no" and self.zero_stage < 0

    @property
    def autocasts(self) -> bool:
        """Whether autocast casts for each narrow product: weights that are narrow already keep theirs."""
        return self.under_autocast and self.param_dtype == "float32" and self.fsdp == "none"

    @property
    def offloads_states(self) -> bool:
        """Whether gradients and the optimizer are on the CPU (FSDP offloads them with the weights)."""
        whole = self.fsdp != "none" and self.offload_param_device != "none"
        return whole or self.offload_optimizer_device != "none"

    @property
    def trains_all(self) -> bool:
        """Whether the model's own weights are trained."""
        return self.lora_rank == 0


def check(recipe: Recipe) -> None:
    """Check that a recipe is possible.

    Raises:
        UsageError: a value is out of its range, or settings can't be combined.

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
        "virtual_stages",
        "recompute_num_layers",
    ):
        check_number(name, getattr(recipe, name), 1)
    for name in ("lora_rank", "micro_batches", "reduce_bucket_size"):
        check_number(name, getattr(recipe, name), 0)
    for wrong, message in _REFUSALS:
        if wrong(recipe):
            raise UsageError(message)
    replica = recipe.tp * recipe.pp * recipe.cp
    if recipe.num_processes % replica:
        raise UsageError(f"--num_processes {recipe.num_processes} isn't a multiple of tp x pp x cp = {replica}")
    if (recipe.data_parallel * recipe.cp * recipe.tp) % recipe.ep:
        raise UsageError(
            f"--ep {recipe.ep} doesn't divide the {recipe.data_parallel * recipe.cp * recipe.tp} "
            "processes of a pipeline stage"
        )


_REFUSALS: "tuple[tuple[Callable[[Recipe], bool], str], ...]" = (
    (lambda r: not -1 <= r.zero_stage <= ZERO_3, "--zero_stage: must be 0, 1, 2 or 3, or -1 for no DeepSpeed"),
    (lambda r: r.fsdp_version not in (1, 2), "--fsdp_version: must be 1 or 2"),
    (lambda r: not numbers(r.bitsandbytes), "--bitsandbytes: must be a version such as 0.43.1"),
    (lambda r: not numbers(r.transformers), "--transformers: must be a version such as 4.48"),
    (lambda r: r.framework == "litgpt" and r.zero_stage >= 0, "--framework litgpt: doesn't use DeepSpeed"),
    (lambda r: not 0 <= r.lora_dropout < 1, "--lora_dropout: must be at least 0 and less than 1"),
    (lambda r: r.zero_stage >= 0 and r.fsdp != "none", "--zero_stage and --fsdp: choose one"),
    (lambda r: r.megatron != "none" and (r.zero_stage >= 0 or r.fsdp != "none"),
     "--megatron: has an optimizer of its own; leave out --zero_stage and --fsdp"),
    (lambda r: r.megatron != "none" and (r.framework != "transformers" or not r.trains_all),
     "--megatron: trains the whole model by its own code; leave out --framework and --lora_rank"),
    (lambda r: r.megatron != "none" and (r.optimizer not in ("adamw", "sgd") or r.optimizer_in_backward),
     "--megatron: steps by adamw or sgd, after the backward pass"),
    (lambda r: r.megatron != "none" and r.virtual_stages > 1 and bool(r.micro_batches % r.pp),
     "--micro_batches: with --virtual_stages, Megatron-LM needs a multiple of --pp"),
    (lambda r: r.attention == "flash" and r.width == WIDTH["float32"],
     "--attention flash: its kernels compute in 16 bits; add --mixed_precision or --param_dtype"),
    (lambda r: bool(r.card) and cards.named(r.card) is None,
     cards.UNKNOWN),
    (lambda r: not RECOMPUTED.issuperset(r.recompute_modules),
     f"--recompute_modules: must be of {', '.join(sorted(RECOMPUTED))}"),
    (lambda r: r.quantize != "none" and r.trains_all,
     "--quantize: packed weights can't be trained themselves; add --lora_rank"),
    (lambda r: bool(r.lora_targets) and r.trains_all, "--lora_targets: has no effect without --lora_rank"),
    (lambda r: bool(r.modules_to_save) and r.trains_all, "--modules_to_save: has no effect without --lora_rank"),
    (lambda r: r.gradient_dtype != "auto" and r.zero_stage < 0 and r.fsdp == "none",
     "--gradient_dtype: needs --zero_stage or --fsdp; torch itself keeps gradients in the type of the weights"),
    (lambda r: r.optimizer_in_backward and (r.gradient_accumulation > 1 or r.zero_stage >= 0),
     "--optimizer_in_backward: has no gradients to accumulate, and isn't DeepSpeed's"),
    (lambda r: r.offload_optimizer_device != "none" and r.zero_stage < 1,
     "--offload_optimizer_device: needs --zero_stage 1, 2 or 3"),
    (lambda r: r.offload_param_device != "none" and r.zero_stage < ZERO_3 and r.fsdp == "none",
     "--offload_param_device: needs --zero_stage 3 or --fsdp"),
)  # fmt: skip
