"""Whether a run's model fits the devices: the check behind `launch --check_memory`, by formulas alone."""

from __future__ import annotations

import shlex

from accel_cli.recipe import of_settings
from accel_config import AccelError
from accel_config.catalogue import Launcher
from accel_config.showing.wording import describe
from accel_estimate import EstimateError, estimate, load
from accel_estimate.cli import asked
from accel_estimate.devices.cards import named
from accel_estimate.devices.units import spell
from accel_estimate.options import parser
from accel_estimate.showing.wording import answered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from accel_config import Settings
    from accel_estimate import Recipe
    from accel_estimate.devices.limits import Fit
    from accel_launch.planning.layout import Layout

Verdict = tuple[str, list[str]]
"""Why the run can't start (empty: it can), and notes."""


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
    args.fits = device
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


def _read(said: str, text: str) -> Namespace:
    """Return the arguments of an estimate.

    Raises:
        AccelError: they aren't a model with flags of a training run.
    """
    way = f"{said}: write a model, and flags of `estimate-memory --training` after it"
    try:
        args = parser("--check_memory").parse_args([*shlex.split(text), "--training"])
    except (SystemExit, ValueError):
        raise AccelError(way) from None
    if args.model_name is None or args.script is not None:
        raise AccelError(way)
    if args.trace or args.serving or args.sweep or args.html:
        raise AccelError(f"{way}; --trace, --serving, --sweep and --html have no place here")
    return args


def _verdict(said: str, fit: Fit, low: float, recipe: Recipe) -> Verdict:
    least = low > fit.limit
    needs = f"needs at least {spell(low)}" if least else f"is expected to need {spell(fit.needed)}"
    text = (
        f"{said}: training with {recipe.optimizer} and {recipe.batch_size} x {recipe.seq_len:,} tokens {needs} on "
        f"each device; {fit.device} has {spell(fit.limit)}. In flags of estimate-memory: {answered(fit.answer)}"
    )
    return (text, []) if least else ("", [text])


def _device(layout: Layout) -> str | None:
    """Return the name of this machine's device with the least memory; None if one of them isn't known."""
    found = [named(device.model) for device in layout.devices]
    cards = [card for card in found if card is not None]
    if not cards or len(cards) < len(found):
        return None
    return min(cards, key=lambda card: card.given).name
