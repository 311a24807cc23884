"""The command's flags. Those of a training run are derived from `Recipe`: its names, types, choices and defaults."""

from __future__ import annotations

import argparse
from typing import Literal, get_args, get_origin

from accel_config.showing.arguments import Parser
from accel_config.showing.console import show
from accel_estimate.model.sizes import DTYPES
from accel_estimate.serving.settings import Serving
from accel_estimate.training.recipe import Recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

# What each field of a recipe means, and what its number counts. The tests check that every field is here.
HELP: dict[str, tuple[str, str]] = {
    "optimizer": ("optimizer", ""),
    "optimizer_form": ("form of torch's own optimizer: all tensors at once, one kernel, or one by one", ""),
    "mixed_precision": ("type of the computation in the forward and backward pass", ""),
    "param_dtype": ("type of the weights; bfloat16 for pure bf16 training", ""),
    "gradient_dtype": ("type in which FSDP and DeepSpeed reduce and keep gradients; auto: of the computation", ""),
    "batch_size": ("sequences on one device in one pass, also for --serving", "SEQUENCES"),
    "seq_len": ("length of a sequence; of the longest with --lengths varied", "TOKENS"),
    "lengths": ("whether lengths vary from pass to pass; the allocator then holds blocks of many sizes", ""),
    "gradient_accumulation": ("passes for each step; above 1, gradients are kept between passes", "PASSES"),
    "gradient_checkpointing": (
        "activations that the backward pass recomputes: none, every second product, or whole layers",
        "",
    ),
    "use_reentrant": ("form of torch's checkpointing; auto: true with --transformers before 5.0", ""),
    "attention": ("implementation; eager keeps a score for every pair of tokens, sdpa and flash don't", ""),
    "lora_rank": ("train adapters of this rank instead of the weights; 0 trains the weights", "RANK"),
    "lora_targets": ("linear layers that get an adapter [default: all but the head]", "NAME,NAME"),
    "modules_to_save": ("modules trained as a whole beside the adapters, such as lm_head", "NAME,NAME"),
    "lora_dtype": ("type of the adapters", ""),
    "lora_dropout": ("dropout in front of the adapters", "RATE"),
    "quantize": ("how the weights are packed: the frozen ones with --lora_rank, or all with --serving", ""),
    "zero_stage": ("DeepSpeed's ZeRO stage; -1 for no DeepSpeed", "STAGE"),
    "reduce_bucket_size": ("gradients that DeepSpeed reduces at once", "ELEMENTS"),
    "overlap_comm": ("DeepSpeed reduces during the backward pass, with a second bucket", ""),
    "offload_optimizer_device": ("where DeepSpeed keeps the optimizer's states", ""),
    "offload_param_device": ("where ZeRO-3 keeps the weights, or FSDP its weights, gradients and optimizer", ""),
    "fsdp": ("what FSDP shards: everything; all but gathered weights (grad_op); within a machine (hybrid)", ""),
    "fsdp_version": (
        "version of FSDP; 1 with adapters and --use_reentrant holds each layer's input longer",
        "VERSION",
    ),
    "wrap": ("unit that FSDP gathers at once", ""),
    "num_processes": ("devices on all machines", "DEVICES"),
    "processes_per_machine": ("devices on one machine, for --fsdp hybrid", "DEVICES"),
    "tp": ("tensor parallel degree, also for --serving", "DEVICES"),
    "pp": ("pipeline parallel degree", "STAGES"),
    "cp": ("context parallel degree", "DEVICES"),
    "ep": ("expert parallel degree", "DEVICES"),
    "megatron": ("Megatron-LM trains, with its optimizer whole on each device or distributed over replicas", ""),
    "micro_batches": ("micro-batches in a pipeline; 0 for as many as stages", "BATCHES"),
    "virtual_stages": ("groups of layers on each stage of a pipeline, for an interleaved schedule", "GROUPS"),
    "recompute_modules": (
        "what --gradient_checkpointing selective recomputes with --megatron [default: core_attn]",
        "NAME,NAME",
    ),
    "recompute_method": (
        "what --gradient_checkpointing full recomputes with --megatron: all layers in units, or the first of a group",
        "",
    ),
    "recompute_num_layers": ("layers in such a unit, or at the start of a group", "LAYERS"),
    "sequence_parallel": (
        "with --tp, also split norms and dropout over the sequence (Megatron's sequence parallelism)",
        "",
    ),
    "expandable_segments": ("torch's allocator runs with expandable_segments:True", ""),
    "compile": ("torch.compile compiles the model", ""),
    "loss": ("implementation of the loss; auto is plain, or compiled with --compile", ""),
    "outputs": ("whether the script holds the model's output during the backward pass", ""),
    "transformers": ("version of transformers: its loss, the logits in its output, and its experts", "VERSION"),
    "framework": ("whose code of the model, the adapters and the packing runs", ""),
    "bitsandbytes": ("version of bitsandbytes; before 0.43.2, 4-bit products keep their inputs", "VERSION"),
    "gptq_kernel": ("what unpacks GPTQ's matrices: torch's operations, or a kernel of one matrix at a time", ""),
    "repeats_keys": ("keys and values are repeated for every query head before attention", ""),
    "sync_each_batch": ("FSDP divides gradients after every pass of a step, not after the last alone", ""),
    "card": ("kind of device, for its CUDA context, such as t4 [default: that of --fits]", "DEVICE"),
    "optimizer_in_backward": ("step each parameter as soon as its gradient is there", ""),
}

SHORT = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp8": "float8"}
SWEPT = (
    "batch_size",
    "seq_len",
    "context_len",
    "num_processes",
    "gradient_accumulation",
    "lora_rank",
    "tp",
    "pp",
    "cp",
    "ep",
    "zero_stage",
)


def swept(text: str) -> str:
    """Return the setting of a sweep such as "batch-size=1,2"."""
    name = text.partition("=")[0].strip().lstrip("-").replace("-", "_")
    return "num_processes" if name == "processes" else name


def spellings(name: str) -> tuple[str, ...]:
    """Return both spellings of a long flag: --batch_size and --batch-size."""
    return tuple(dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")))


def parser(program: str, *, launch_config: bool = False) -> argparse.ArgumentParser:
    """Return the parser, with `--config_file` if launch configs can be read.

    Fields of the recipe, and of a server, that weren't typed are absent from its result.
    """
    parser = Parser(
        prog=program,
        allow_abbrev=True,
        description="Estimate how much memory a model takes to load, to train and to serve, from metadata alone.",
        epilog="Exit status: 0 success, and with --fits the device has enough memory; 1 it hasn't, or the Hub or a "
        "file failed; 2 a mistake in the call. Amounts are binary: 1 GiB = 2**30 bytes. Amounts in JSON are bytes.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    parser.add_argument(
        "model_name",
        metavar="MODEL",
        nargs="?",
        help="repository on the Hub, folder, or weight file; not with --script",
    )
    _model(parser.add_argument_group("the model"))
    _output(parser.add_argument_group("output"))
    _serving(parser.add_argument_group("serving"))
    training = parser.add_argument_group("training")
    training.add_argument("--training", action="store_true", help="estimate a training step on one device")
    training.add_argument(
        "--trace",
        action="store_true",
        help="have torch run the step on tensors without data, instead of formulas; needs accel-estimate[trace]",
    )
    training.add_argument(
        "--script",
        metavar="FILE",
        default=None,
        help="have torch run this training script, up to its second step, on tensors without data; its own arguments "
        "follow after --; --num_processes has it be the first of so many; needs torch",
    )
    if launch_config:
        training.add_argument(
            *spellings("config_file"),
            metavar="FILE",
            help="launch config that sets precision, ZeRO or FSDP, and processes",
        )
    for name in Recipe._fields:
        training.add_argument(*spellings(name), dest=name, help=_help(name), default=argparse.SUPPRESS, **_form(name))
    return parser


class _Version(argparse.Action):
    """Print the version; it is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from accel_estimate import __version__

        show(f"accel-estimate {__version__}\n")
        parser.exit()


def _model(group: Any) -> None:
    group.add_argument(
        *spellings("library_name"),
        choices=("timm", "transformers"),
        default=None,
        help="library that builds the model if its files don't describe it",
    )
    group.add_argument(
        *spellings("trust_remote_code"),
        action="store_true",
        help="allow the repository's own code to run if the model must be built",
    )
    group.add_argument("--revision", default="main", help="branch, tag or commit on the Hub [default: main]")
    group.add_argument("--file", default=None, metavar="NAME", help="weight file to read if there are several")


def _output(group: Any) -> None:
    group.add_argument(
        "--dtypes",
        nargs="+",
        type=_dtype,
        choices=DTYPES,
        default=None,
        metavar="TYPE",
        help=f"rows of the table: {', '.join(DTYPES)} [default: all]; the first is that of the weights for --serving "
        "and --fits [default: as stored for --serving, float32 for --fits]",
    )
    group.add_argument(
        "--fits",
        metavar="DEVICE",
        default=None,
        help="check whether it fits 3090, 24G, 24GiB, h100 or 8xh100, and what to change if it doesn't: training, "
        "else serving, else the first row",
    )
    group.add_argument(
        "--sweep", metavar="NAME=N,N,…", default=None, help=f"estimate each value of one of {', '.join(SWEPT)}"
    )
    group.add_argument("--html", metavar="FILE", default=None, help="with --sweep or --fits: also write a page")
    group.add_argument("--json", action="store_true", help="print JSON, all amounts in bytes")


def _serving(group: Any) -> None:
    group.add_argument("--serving", action="store_true", help="estimate serving: weights and cache")
    group.add_argument(
        *spellings("context_len"),
        type=int,
        default=argparse.SUPPRESS,
        metavar="TOKENS",
        help=f"length of each sequence in the cache [default: {Serving.context_len}]",
    )
    group.add_argument(
        *spellings("max_new_tokens"),
        type=int,
        default=argparse.SUPPRESS,
        metavar="TOKENS",
        help="of these, what the model generates; the rest is the prompt [default: 0]",
    )
    group.add_argument(
        *spellings("prefill_chunk"),
        type=int,
        default=argparse.SUPPRESS,
        metavar="TOKENS",
        help="tokens of prompts that are read at once; 0 for whole prompts, as transformers' generate reads them "
        f"[default: {Serving.prefill_chunk}]",
    )
    group.add_argument(
        *spellings("kv_dtype"),
        type=_dtype,
        default=argparse.SUPPRESS,
        metavar="TYPE",
        help=f"type of the cache, such as float8 [default: {Serving.kv_dtype}]",
    )


def _help(name: str) -> str:
    default: Any = getattr(Recipe, name)
    shown = "" if default in ((), "") else f" [default: {_shown(default)}]"
    return (HELP[name][0] + shown).replace("%", "%%")


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _literals(hint: Any) -> Iterator[str]:
    for part in get_args(hint):
        if get_origin(part) is Literal:
            yield from get_args(part)
        else:
            yield part


def _form(name: str) -> dict[str, Any]:
    hint = Recipe.__annotations__[name]
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if hint in (int, float, str):
        return {"type": hint, "metavar": HELP[name][1]}
    if get_origin(hint) is tuple:
        return {"type": _words, "metavar": HELP[name][1]}
    choices = tuple(_literals(hint))
    return {"choices": choices, **({"type": _dtype} if "bfloat16" in choices else {})}


def _dtype(text: str) -> str:
    """Return a type's name; launch configs have shorter ones."""
    return SHORT.get(text.lower(), text)


def _words(text: str) -> Sequence[str]:
    found = tuple(word for word in text.replace(" ", "").split(",") if word)
    if not found:
        raise argparse.ArgumentTypeError("names no module")
    return found
