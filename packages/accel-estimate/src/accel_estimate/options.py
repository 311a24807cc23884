"""The command's flags. Those of a training run are derived from `Recipe`: its names, types, choices and defaults."""

import argparse
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from accel_estimate.precision import DTYPES
from accel_estimate.recipe import Recipe

# What each field of a recipe means; a field without a sentence here is no flag (the tests see to that).
HELP: dict[str, str] = {
    "optimizer": "optimizer",
    "mixed_precision": "type that the forward and backward pass compute in",
    "param_dtype": "type that weights are held in (bfloat16 for pure bf16 training)",
    "batch_size": "sequences on one device in one pass (also for --serving)",
    "seq_len": "tokens in a sequence",
    "gradient_accumulation": "passes before a step; above 1, gradients are kept between them",
    "gradient_checkpointing": "activations to recompute in the backward pass: none, every second product, or layers",
    "attention": "eager keeps a score for every pair of tokens; sdpa and flash don't",
    "lora_rank": "train adapters of this rank instead of the weights (0: train the weights)",
    "lora_targets": "linear layers that get an adapter, separated by commas (default: all but the head)",
    "lora_dtype": "type that adapters are held in",
    "lora_dropout": "dropout in front of the adapters",
    "quantize": "how the frozen weights are packed (with --lora_rank)",
    "zero_stage": "DeepSpeed's ZeRO stage (-1: no DeepSpeed)",
    "reduce_bucket_size": "gradients that DeepSpeed reduces at a time, in elements",
    "overlap_comm": "DeepSpeed reduces while the backward pass runs, with a second bucket",
    "offload_optimizer_device": "where DeepSpeed keeps the optimizer's states",
    "offload_param_device": "where ZeRO-3 keeps the weights, or FSDP weights, gradients and optimizer",
    "fsdp": "what FSDP shards: all, all but the weights between forward and backward, or all within a machine",
    "wrap": "what FSDP gathers at a time",
    "num_processes": "devices in all",
    "processes_per_machine": "devices in one machine (for --fsdp hybrid)",
    "tp": "tensor parallel degree (also for --serving)",
    "pp": "pipeline parallel degree",
    "cp": "context parallel degree",
    "ep": "expert parallel degree",
    "micro_batches": "micro-batches in a pipeline (0: as many as stages)",
    "sequence_parallel": "with --tp, split norms and dropout over the sequence too (Megatron's sequence parallelism)",
    "compile": "the model is compiled by torch.compile",
    "loss": "how the loss is worked out (auto: plain, compiled with --compile)",
}

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


def spellings(name: str) -> tuple[str, ...]:
    """Give both spellings of a long flag: --batch_size and --batch-size."""
    return tuple(dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")))


def parser(prog: str, *, launch_config: bool = False) -> argparse.ArgumentParser:
    """Build the parser, with `--config_file` where launch configs can be read.

    Fields of the recipe that are not given are left out of what it returns.
    """
    made = argparse.ArgumentParser(
        prog=prog,
        allow_abbrev=True,
        description="Tell how much memory a model takes to load, to train and to serve, from metadata alone.",
        epilog="Exit status: 0 done (with --fits: it fits), 1 it does not fit or the world failed, 2 a mistake in "
        "the call. Amounts are binary: 1 GiB = 2**30 bytes; in JSON, bytes.",
    )
    made.add_argument("model_name", metavar="MODEL", help="repository on the Hub, folder, or weight file")
    _model(made.add_argument_group("the model"))
    _output(made.add_argument_group("what to tell"))
    serving = made.add_argument_group("serving")
    serving.add_argument("--serving", action="store_true", help="estimate serving: weights and cache")
    serving.add_argument(
        *spellings("context_len"),
        type=int,
        default=4096,
        metavar="N",
        help="tokens of each sequence in the cache (default: 4096)",
    )
    serving.add_argument(
        *spellings("kv_dtype"),
        default="bfloat16",
        metavar="TYPE",
        help="type of the cache, such as float8 (default: bfloat16)",
    )
    training = made.add_argument_group("training")
    training.add_argument("--training", action="store_true", help="estimate a training step on one device")
    if launch_config:
        training.add_argument(
            *spellings("config_file"),
            metavar="FILE",
            help="launch config to take precision, ZeRO or FSDP and processes from",
        )
    for name in Recipe._fields:
        training.add_argument(*spellings(name), dest=name, help=_help(name), default=argparse.SUPPRESS, **_form(name))
    return made


def _model(group: Any) -> None:
    group.add_argument(
        *spellings("library_name"),
        choices=("timm", "transformers"),
        default=None,
        help="library to build the model with, when its files don't tell enough",
    )
    group.add_argument(
        *spellings("trust_remote_code"),
        action="store_true",
        help="allow code of the repository to run when the model has to be built",
    )
    group.add_argument("--revision", default="main", help="branch, tag or commit on the Hub")
    group.add_argument("--file", default=None, metavar="NAME", help="weight file to read, when there are several")


def _output(group: Any) -> None:
    group.add_argument(
        "--dtypes",
        nargs="+",
        choices=DTYPES,
        default=None,
        metavar="TYPE",
        help=f"rows of the table: {', '.join(DTYPES)} (default: all)",
    )
    group.add_argument(
        "--fits", metavar="DEVICE", default=None, help="tell whether it fits 24GiB, 80GB, or a device such as h100"
    )
    group.add_argument(
        "--sweep", metavar="NAME=N,N,…", default=None, help=f"estimate for each value of one of {', '.join(SWEPT)}"
    )
    group.add_argument("--html", metavar="FILE", default=None, help="with --sweep: write a page with bars")
    group.add_argument("--json", action="store_true", help="print JSON, all amounts in bytes")


def _help(name: str) -> str:
    default: Any = Recipe._field_defaults[name]
    shown = "" if default in ((), 0.0, False) else f" (default: {default})"
    return (HELP[name] + shown).replace("%", "%%")


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
    if hint in (int, float):
        return {"type": hint, "metavar": "N"}
    if get_origin(hint) is tuple:
        return {"type": _words, "metavar": "NAME,NAME"}
    return {"choices": tuple(_literals(hint))}


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(" ", "").split(",") if word)
