"""What can't be traced: settings that it doesn't know, libraries that are missing, and code that asks for values."""

from __future__ import annotations

import traceback
from importlib.util import find_spec

from accel_estimate.errors import EstimateError, UsageError
from accel_estimate.training.reentrant import holds_inputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_estimate.training.recipe import Recipe

LIBRARIES = ("torch", "transformers", "peft")
_LONGEST = 200


class UntraceableError(EstimateError):
    """This model or this recipe can't be traced, so the formulas have to answer."""


def check_installed(flag: str = "--trace", needed: Sequence[str] = LIBRARIES) -> None:
    """Check that the libraries are there.

    Raises:
        UsageError: one is missing.

    """
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        from accel_config.showing.installing import command

        raise UsageError(f"{flag}: needs {' and '.join(missing)}; run: {command('accel-estimate[trace]')}")


_UNKNOWN: tuple[tuple[Callable[[Recipe], bool], str], ...] = (
    (lambda r: r.zero_stage >= 0, "--zero_stage: DeepSpeed isn't traced"),
    (lambda r: r.tp > 1 or r.pp > 1 or r.cp > 1 or r.ep > 1, "--tp, --pp, --cp and --ep aren't traced"),
    (lambda r: r.quantize != "none", "--quantize: packed weights aren't traced"),
    (holds_inputs, "--fsdp_version 1 isn't traced, and holds more with adapters and --use_reentrant"),
    (lambda r: r.megatron != "none", "--megatron: its code isn't traced"),
    (lambda r: r.expandable_segments, "--expandable_segments: a trace prints both kinds of reserved memory"),
    (lambda r: r.mixed_precision == "fp8", "--mixed_precision fp8 isn't traced"),
    (lambda r: r.offload_param_device != "none", "--offload_param_device isn't traced"),
    (lambda r: r.optimizer_in_backward, "--optimizer_in_backward isn't traced"),
    (lambda r: r.optimizer.startswith("paged"), "--optimizer: paged states aren't traced"),
    (
        lambda r: r.outputs == "freed" or r.transformers != type(r).transformers or r.repeats_keys,
        "--outputs, --transformers and --repeats_keys: the model is traced as it is written",
    ),
    (lambda r: r.framework != "transformers", "--framework: only models of transformers are traced"),
    (lambda r: r.lengths == "varied", "--lengths varied: a trace has one length"),
    (lambda r: r.loss not in ("auto", "plain"), "--loss: only the loss of transformers is traced"),
)


def check(recipe: Recipe) -> None:
    """Check that a recipe can be traced.

    Raises:
        UntraceableError: it can't; the message names the flag.

    """
    for unknown, message in _UNKNOWN:
        if unknown(recipe):
            raise UntraceableError(message)


def explained(error: Exception) -> UntraceableError:
    """Return what to say of an error in the model's own code: its line, and what it asked for."""
    what = reason(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _of_the_model(frame.filename)]
    if not frames:
        return UntraceableError(f"the step {what}")
    last = frames[-1]
    return UntraceableError(f"{last.filename}:{last.lineno} {what} (`{last.line}`)")


def reason(error: Exception) -> str:
    """Return what code asked for that can't be done without data, or how it failed."""
    kind = type(error).__name__
    if kind in ("DataDependentOutputException", "DynamicOutputShapeException"):
        asked = getattr(error, "func", "an operation")
        return f"looks at the values of a tensor ({asked}), which tensors without data don't have"
    if kind in ("UnsupportedOperatorException", "UnsupportedFakeTensorException"):
        return f"needs {getattr(error, 'func', 'an operation')}, which has no form for tensors without data"
    text = (str(error).strip().splitlines() or [""])[0][:_LONGEST]
    return f"failed: {kind}: {text}"


def _of_the_model(filename: str) -> bool:
    return not any(part in filename for part in ("/torch/", "/accel_estimate/", "<frozen", "/contextlib.py"))
