"""Whether a run's model fits the devices: the check behind `launch --check_memory`, by formulas alone."""

from __future__ import annotations

import contextlib
import io
import shlex

from accel_cli.recipe import of_settings
from accel_config import AccelError
from accel_config.catalogue import Launcher
from accel_config.showing.wording import describe
from accel_estimate import EstimateError, Recipe, estimate, load
from accel_estimate.cli import asked
from accel_estimate.devices.cards import named
from accel_estimate.devices.units import spell
from accel_estimate.options import parser
from accel_estimate.showing.wording import amounts, beginning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from accel_config import Settings
    from accel_estimate.answer.search import Answer
    from accel_estimate.devices.limits import Fit
    from accel_launch.planning.layout import Layout

Verdict = tuple[str, list[str]]
"""Why the run can't start (empty: it can), and notes."""
DECIDED = {
    "mixed_precision": "--mixed_precision",
    "zero_stage": "--use_deepspeed with --zero_stage",
    "offload_optimizer_device": "--offload_optimizer_device",
    "offload_param_device": "--offload_param_device (DeepSpeed) or --fsdp_offload_params",
    "reduce_bucket_size": "--deepspeed_config_file",
    "overlap_comm": "--deepspeed_config_file",
    "fsdp": "--use_fsdp with --fsdp_reshard_after_forward",
    "fsdp_version": "--fsdp_version of the launch",
    "wrap": "--fsdp_auto_wrap_policy",
    "num_processes": "--num_processes",
    "processes_per_machine": "--num_machines",
    "tp": "--parallelism_config_tp_size",
    "cp": "--parallelism_config_cp_size",
    "pp": "--megatron_lm_pp_degree",
    "ep": "--megatron_lm_expert_model_parallel_size",
    "sequence_parallel": "--megatron_lm_sequence_parallelism",
}
"""What the launch decides, by a recipe's names, and the settings that do."""


def check(settings: Settings, layout: Layout) -> Verdict:
    """Return whether a training step of the model that `--check_memory` names fits each device.

    Only files on this machine are read: a folder, or the Hub's cache.

    Raises:
        AccelError: the words aren't a model with flags of `estimate-memory`, or the model can't be estimated.
    """
    said = describe(settings, "check_memory")
    recipe = of_settings(settings).replace(num_processes=layout.total, processes_per_machine=layout.local)
    args = _read(said, settings[Launcher].check_memory or "")
    device = args.fits or _device(layout)
    if device is None:
        return "", [
            f"{said}: the memory of {layout.where} isn't known; add its name to the model, such as --fits 24GiB"
        ]
    args.fits, args.num_processes = device, layout.total  # --fits 8xh100 doesn't add any
    ask = asked(args, recipe)
    try:
        report = estimate(load(args.model_name, revision=args.revision, file=args.file, near=True), ask)
    except EstimateError as error:
        if error.status == AccelError.status:
            raise AccelError(f"{said}: {error}") from None
        return "", [f"{said}: not checked: {error}"]
    if report.training is None or report.fit is None or report.fit.fits or ask.training is None:
        return "", []
    return _verdict(said, report.fit, report.training.low, ask.training)


def described(settings: Settings) -> Recipe:
    """Return the recipe of a launch, with what the words of `--check_memory` say of the script.

    Raises:
        AccelError: the words, or the DeepSpeed json that the settings name, aren't valid.
    """
    recipe, text = of_settings(settings), settings[Launcher].check_memory
    if text is None:
        return recipe
    args = _read(describe(settings, "check_memory"), text)
    return recipe.replace(**{name: getattr(args, name) for name in recipe._fields if hasattr(args, name)})


def readable(settings: Settings) -> None:
    """Check the words of `--check_memory`, without looking at the model.

    Raises:
        AccelError: they aren't a model with flags of `estimate-memory`.
    """
    text = settings[Launcher].check_memory
    if text is not None:
        _read(describe(settings, "check_memory"), text)


def words(model: str, recipe: Recipe) -> str:
    """Return the words for `--check_memory` with which a launch that spreads the recipe's model so is checked."""
    script = [name for name in recipe._fields if name not in (*DECIDED, "card") and not any(_flags(name, recipe))]
    if recipe.zero_stage >= 0:
        script.remove("gradient_accumulation")
    flags = [
        f"--{name} {getattr(recipe, name)}" for name in script if getattr(recipe, name) != getattr(Recipe(), name)
    ]
    return " ".join([shlex.quote(model), *flags])


def _read(said: str, text: str) -> Namespace:
    """Return the arguments of an estimate.

    Raises:
        AccelError: they aren't a model with flags of a training run.
    """
    way = "write a model, and flags of `estimate-memory --training` after it"
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            args = parser("--check_memory").parse_args([*shlex.split(text), "--training"])
    except (SystemExit, ValueError) as error:
        usage = told.getvalue().partition("error: ")[2].partition("\n")[0]
        why = str(error) if isinstance(error, ValueError) else usage
        raise AccelError(f"{said}: {why}; {way}" if why else f"{said}: {way}") from None
    if args.model_name is None or args.script is not None:
        raise AccelError(f"{said}: {way}")
    if args.trace or args.serving or args.sweep or args.html:
        raise AccelError(f"{said}: {way}; --trace, --serving, --sweep and --html have no place here")
    if (typed := next((name for name in DECIDED if hasattr(args, name)), None)) is not None:
        raise AccelError(f"{said}: --{typed} has no place here, the launch decides it: set {DECIDED[typed]}")
    return args


def _verdict(said: str, fit: Fit, low: float, recipe: Recipe) -> Verdict:
    least = low > fit.limit
    needs = f"needs at least {spell(low)}" if least else f"is expected to need {spell(fit.needed)}"
    text = (
        f"{said}: training with {recipe.optimizer} and {recipe.batch_size} x {recipe.seq_len:,} tokens {needs} on "
        f"each device; {fit.device} has {spell(fit.limit)}. {_answered(fit.answer, recipe)}"
    )
    return (text, []) if least else ("", [text])


def _answered(answer: Answer | None, before: Recipe) -> str:
    """Return what would fit: flags of the launch, and what the script does, which its words for the check repeat."""
    if answer is None:
        return "No change that is known makes it smaller."
    after: Recipe = answer.settings
    changed = [name for name in after._fields if getattr(after, name) != getattr(before, name)]
    own = [word for name in changed for word in _flags(name, after)]
    rest = [f"--{name} {getattr(after, name)}" for name in changed if not any(_flags(name, after))]
    ways = [f"{' '.join(own)} of launch"] if own else []
    ways += [f"a script that does {' '.join(rest)} (write it after the model in --check_memory)"] if rest else []
    return f"{beginning(answer)} {', and '.join(ways)}: {amounts(answer)}"


def _flags(name: str, recipe: Recipe) -> Iterator[str]:
    """Yield the launch's flags for the recipe's value of a field; none where the script decides it."""
    value = getattr(recipe, name)
    if name == "fsdp":
        wrap = "" if recipe.wrap == "model" else " --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP"
        yield f"--use_fsdp --fsdp_version 2 --fsdp_reshard_after_forward true{wrap}"
    elif name == "zero_stage":
        yield f"--use_deepspeed --zero_stage {value}"
    elif name == "gradient_checkpointing" and recipe.fsdp != "none" and value == "full":
        yield "--fsdp_activation_checkpointing true"
    elif name == "offload_param_device" and recipe.fsdp != "none":
        yield "--fsdp_offload_params true"
    elif name in DECIDED:
        yield f"--{name} {value}"


def _device(layout: Layout) -> str | None:
    """Return the name of this machine's device with the least memory; None if one of them isn't known."""
    found = [named(device.model) for device in layout.devices]
    cards = [card for card in found if card is not None]
    if not cards or len(cards) < len(found):
        return None
    return min(cards, key=lambda card: card.given).name
