"""The command: arguments in, a report out, and an exit status."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from accel_estimate import options
from accel_estimate.errors import EstimateError, UsageError
from accel_estimate.estimator import Ask, estimate, load
from accel_estimate.model import Model
from accel_estimate.precision import DTYPES
from accel_estimate.recipe import Recipe
from accel_estimate.serving import Serving

PROG = "accel-estimate"
_SHARED = frozenset({"batch_size", "tp"})


def main(
    argv: list[str] | None = None, *, launch_config: Callable[[str], Recipe] | None = None, prog: str = PROG
) -> int:
    """Run the command with the arguments of `accelerate estimate-memory`, and give its exit status.

    `launch_config`, where the caller can read such files, makes a recipe of one (precision, ZeRO or FSDP, processes);
    there is a flag `--config_file` then. Its recipe gives the defaults of the training flags, and the estimate of
    training is then shown without `--training` too.

    Status: 0 done, and where a device was named it fits; 1 it does not fit, or the Hub or a file failed; 2 the call
    was wrong; 130 interrupted; 141 the reader of the output went away. No exception leaves this function, but for
    those of `launch_config`.
    """
    try:
        args = options.parser(prog, launch_config=launch_config is not None).parse_args(argv)
    except SystemExit as stop:  # argparse has said what is wrong, or printed the help
        return stop.code if isinstance(stop.code, int) else 2
    try:
        recipe = launch_config(args.config_file) if launch_config and args.config_file else None
        status = _run(args, recipe)
        sys.stdout.flush()
        return status
    except EstimateError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        if error.filename is not None:  # not of our output
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of it goes nowhere as we end
        if isinstance(error, BrokenPipeError):
            return 141
        print(f"{prog}: the output cannot be written ({error.strerror}).", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(args: argparse.Namespace, recipe: Recipe | None) -> int:
    ask = _ask(args, recipe)
    swept = _swept(args, ask)
    with _Progress() as progress:
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
    if args.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        from accel_estimate import table

        table.show(report, _console())
    return 0 if report.fit is None or report.fit.fits else 1


def _ask(args: argparse.Namespace, recipe: Recipe | None) -> Ask:
    given = {name: getattr(args, name) for name in Recipe._fields if hasattr(args, name)}
    training: Recipe | None = None
    if args.training or (recipe is not None and not args.serving):
        training = (recipe or Recipe())._replace(**given)
    elif alone := sorted(given.keys() - (_SHARED if args.serving else set())):
        raise UsageError(f"--{alone[0]}: add --training" + (" or --serving." if alone[0] in _SHARED else "."))
    serving = None
    if args.serving:
        serving = Serving(args.context_len, given.get("batch_size", 1), args.kv_dtype, tp=given.get("tp", 1))
    dtypes = args.dtypes or DTYPES
    return Ask(dtypes, training, serving, args.fits)


def _swept(args: argparse.Namespace, ask: Ask) -> tuple[str, tuple[int, ...]] | None:
    if args.sweep is None:
        if args.html is not None:
            raise UsageError("--html: needs --sweep.")
        return None
    from accel_estimate import sweep

    if ask.training is None and ask.serving is None:
        raise UsageError("--sweep: add --training or --serving.")
    return sweep.parse(args.sweep)


def _sweep(args: argparse.Namespace, ask: Ask, model: Model, setting: str, values: tuple[int, ...]) -> int:
    from accel_estimate import page, sweep, table

    done = sweep.run(model, ask, setting, values)
    if args.html is not None:
        try:
            _write(args.html, page.render(done))
        except OSError as error:
            raise UsageError(f"--html {args.html}: cannot be written ({error.strerror}).") from None
    if args.json:
        print(json.dumps(done.to_json(), indent=2))
    else:
        table.show_sweep(done, _console())
    return 0 if done.fits else 1


def _write(path: str, text: str) -> None:
    """Write a file as a whole: what is there stays until the new one is complete."""
    from pathlib import Path

    file = Path(path).resolve()
    if file.exists() and not file.is_file():  # a device, or a pipe
        file.write_text(text, encoding="utf-8")
        return
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _console() -> Any:
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:  # rich ends the process with 1
            raise BrokenPipeError

    return Ours(highlight=False, markup=False, emoji=False, soft_wrap=True)


class _Progress:
    """A bar on stderr while the headers of several files come in; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Callable[[int, int], None]:
        return self._step

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _step(self, done: int, whole: int) -> None:
        if whole < 2 or not sys.stderr.isatty():  # noqa: PLR2004
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("Reading headers", total=whole)
        self._bar.update(self._task, completed=done)


if __name__ == "__main__":
    sys.exit(main())
