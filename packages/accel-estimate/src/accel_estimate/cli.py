"""The command: arguments in, a report out, and an exit status."""

from __future__ import annotations

import json
import sys

from accel_config import front
from accel_config.errors import FAILED
from accel_config.showing.console import data
from accel_estimate import options
from accel_estimate.devices.limits import check_machines, check_number_of, read_devices, spread
from accel_estimate.errors import EstimateError, UsageError, check_number
from accel_estimate.estimation.ask import Ask, Tracing
from accel_estimate.estimation.estimator import estimate
from accel_estimate.estimation.loading import load
from accel_estimate.model.sizes import DTYPES
from accel_estimate.serving.settings import Serving
from accel_estimate.showing.progress import Progress
from accel_estimate.training import idle
from accel_estimate.training.recipe import Recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import Any

    from accel_estimate.model.checkpoint import Model

PROGRAM = "accel-estimate"
_OF_A_SCRIPT = frozenset({"--script", "--json", "--fits", *options.spellings("num_processes")})
_SERVED = ("context_len", "max_new_tokens", "prefill_chunk", "kv_dtype")
_SHARED = frozenset({"batch_size", "tp", "quantize", "card"})


def main(
    argv: Sequence[str] | None = None,
    program: str = PROGRAM,
    *,
    launch_config: Callable[[str], Recipe] | None = None,
) -> int:
    """Run the command with the arguments of `accelerate estimate-memory`; return its exit status.

    `launch_config` reads a launch config into a recipe (precision, ZeRO or FSDP, processes). If it is set, the
    command has the flag `--config_file`: the recipe gives the defaults of the training flags, and the command
    estimates training without `--training` too.

    Status: 0 success, and a named device has enough memory; 1 it hasn't, or the Hub or a file failed; 2 a mistake in
    the call; 130 interrupted; 141 the reader of the output went away.
    """

    def command(words: list[str]) -> int:
        parser = options.parser(program, launch_config=launch_config is not None)
        own, rest = _divided(words)
        args = parser.parse_args(own)
        if args.script is not None:
            return _script(args, own, rest)
        if rest:
            args = parser.parse_args(words)
        if args.model_name is None:
            parser.error("the following arguments are required: MODEL")
        return _run(args, launch_config(args.config_file) if launch_config and args.config_file else None)

    return front.run(command, argv, program)


def _divided(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the command's words, and those behind ``--``, which are a script's."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def _script(args: argparse.Namespace, own: Sequence[str], words: Sequence[str]) -> int:
    """Report on the user's own script.

    Raises:
        UsageError: a flag has no effect on a script.

    """
    if args.model_name is not None:
        raise UsageError(f"{args.model_name}: not with --script; write the script's own arguments after --")
    others = sorted(word for word in own if word.startswith("--") and word.partition("=")[0] not in _OF_A_SCRIPT)
    if others:
        raise UsageError(f"{others[0]}: not with --script; what the script does counts")
    if (count := getattr(args, "num_processes", None)) is not None:
        check_number("num_processes", count, 1)
    from accel_estimate.tracing.script import command

    found, fit = command.report(args.script, words, args.fits, getattr(args, "num_processes", None))
    if args.json:
        from accel_estimate.estimation.memory_report import fit_json

        data(json.dumps(found if fit is None else {**found, "fits": fit_json(fit)}, indent=2) + "\n")
    else:
        from accel_estimate.tracing.script import showing

        showing.show(found, fit)
    return 0 if fit is None or fit.fits else FAILED


def _run(args: argparse.Namespace, recipe: Recipe | None) -> int:
    ask = asked(args, recipe)
    swept = _swept(args, ask)
    with Progress() as progress:
        model = load(
            args.model_name,
            revision=args.revision,
            file=args.file,
            library=args.library_name,
            trust_remote_code=args.trust_remote_code,
            progress=progress,
        )
    if swept is not None:
        return _sweep(args, ask, model, *swept)
    report = estimate(model, ask)
    if args.html is not None:
        from accel_estimate.showing import page

        _write(args.html, page.of_report(report, ask).encode())
    if args.json:
        data(json.dumps(report.to_json(), indent=2) + "\n")
    else:
        from accel_estimate.showing import table

        table.show(report, table.console())
    return 0 if report.fit is None or report.fit.fits else FAILED


def asked(args: argparse.Namespace, recipe: Recipe | None) -> Ask:
    """Return what the arguments ask for; `recipe` gives the defaults of a training run.

    Raises:
        UsageError: a flag has no effect without another one.

    """
    swept = options.swept(args.sweep) if args.sweep else ""
    typed = {name: getattr(args, name) for name in Recipe._fields if hasattr(args, name)}
    card = read_devices(args.fits).card if args.fits else ""
    training: Recipe | None = None
    if args.training or (recipe is not None and not args.serving):
        training = recipe or Recipe()
        if "num_processes" not in typed:
            training = spread(training, args.fits)
            if recipe is not None and args.fits and getattr(args, "config_file", None):
                said = f"{args.config_file}: num_processes"
                check_number_of(training.num_processes, read_devices(args.fits), said)
        if args.fits and "processes_per_machine" in typed:
            check_machines(typed["processes_per_machine"], read_devices(args.fits))
        training = training.replace(**{"card": card, **typed})
        idle.check(training, typed, swept)
    elif alone := sorted(typed.keys() - (_SHARED if args.serving else set())):
        raise UsageError(f"--{alone[0]}: add --training" + (" or --serving" if alone[0] in _SHARED else ""))
    served = {name: getattr(args, name) for name in _SERVED if hasattr(args, name)}
    serving = None
    if args.serving:
        weights = args.dtypes[0] if args.dtypes else Serving.dtype
        shared: dict[str, Any] = {"card": card} | {name: typed[name] for name in _SHARED if name in typed}
        serving = Serving(dtype=weights, **served, **shared)
    elif served:
        raise UsageError(f"--{min(served)}: add --serving")
    if args.trace and training is None:
        raise UsageError("--trace: add --training")
    trace = Tracing(args.revision, args.trust_remote_code) if args.trace else None
    if trace is not None:
        sys.modules.setdefault("triton", None)  # pyright: ignore[reportArgumentType] - slow, unused, and loud at the end
    return Ask(args.dtypes or DTYPES, training, serving, args.fits, trace)


def _swept(args: argparse.Namespace, ask: Ask) -> tuple[str, tuple[int, ...]] | None:
    if args.sweep is None:
        if args.html is not None and (args.fits is None or (ask.training is None and ask.serving is None)):
            raise UsageError("--html: needs --sweep, or --fits with --training or --serving")
        return None
    from accel_estimate.estimation import sweep

    if ask.training is None and ask.serving is None:
        raise UsageError("--sweep: add --training or --serving")
    return sweep.parse(args.sweep)


def _sweep(args: argparse.Namespace, ask: Ask, model: Model, setting: str, values: tuple[int, ...]) -> int:
    from accel_estimate.estimation import sweep
    from accel_estimate.showing import page, table

    result = sweep.run(model, ask, setting, values)
    if args.html is not None:
        _write(args.html, page.render(result).encode())
    if args.json:
        data(json.dumps(result.to_json(), indent=2) + "\n")
    else:
        table.show_sweep(result, table.console())
    return 0 if result.fits else FAILED


def _write(path: str, content: bytes) -> None:
    """Write a file as a whole.

    Raises:
        AccelError: the file can't be written.

    """
    from pathlib import Path

    from accel_config.writing.storage import save

    file = Path(path)
    if not file.exists() or file.is_file() or file.is_dir():
        save(path, content)
        return
    try:
        file.write_bytes(content)  # a device, or a pipe: there is nothing to replace
    except OSError as error:
        raise EstimateError(f"{path} can't be written: {error.strerror}") from None
