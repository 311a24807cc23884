"""Try a script with every combination of some arguments; each trial is a launch of its own.

    python examples/sweep.py --try learning-rate=5e-4,2e-3,8e-3 --try epochs=2,5 \
        -- --cpu --num_processes 2 examples/train_digits.py

After `--` come the words that `accelerate launch` takes. accel-launch is used as a library: a trial is planned, run
and judged in this process, which doesn't deal with ranks, ports, signals or exit codes.
"""

import argparse
import itertools
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from accel_config import CATALOGUE, AccelError, layers, resolve, split
from accel_launch import Host, Plan, Result, plan, run


class Trial(NamedTuple):
    """One combination, and its plan."""

    arguments: Mapping[str, str]
    plan: Plan


class Outcome(NamedTuple):
    """How a trial ended."""

    seconds: float
    result: Result
    metric: float | None

    @property
    def words(self) -> str:
        """`ok`, or the first failure: who, why and where."""
        if self.result.failure is None:
            return "ok" if self.result.status == 0 else f"ended with {self.result.status}"
        failure = self.result.failure
        return f"rank {failure.ending.rank}: {failure.exception or failure.cause}, {failure.where or failure.log}"


def main() -> int:
    """Run the trials and print the table; 1 if a trial failed."""
    arguments = parse()
    try:
        trials = list(planned(dict(arguments.tries), arguments.launch, arguments.logs))
    except AccelError as error:  # a wrong flag, before anything has started
        print(f"sweep: {error}", file=sys.stderr)
        return error.status
    with ThreadPoolExecutor(arguments.jobs) as threads:
        outcomes = list(threads.map(partial(carried, metric=arguments.metric), trials))
    print("\n".join(table(trials, outcomes, arguments.metric)))
    return int(any(outcome.result.status for outcome in outcomes))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--try", action="append", type=choices, required=True, dest="tries", metavar="NAME=A,B,...",
        help="an argument of the script, and what to try it with",
    )  # fmt: skip
    parser.add_argument("--metric", default="accuracy", help="the last number after this word, on rank 0, is shown")
    parser.add_argument("--jobs", type=int, default=1, help="trials at the same time")
    parser.add_argument("--logs", type=Path, default=Path("sweep"), help="the folder for the trials' output")
    parser.add_argument("launch", nargs="+", help="flags of accelerate launch, and the script")
    return parser.parse_args()


def choices(word: str) -> tuple[str, list[str]]:
    """Read ``NAME=A,B``."""
    name, _, values = word.partition("=")
    if not name or not values:
        raise argparse.ArgumentTypeError(f"{word!r} is not NAME=A,B,...")
    return name, values.split(",")


def planned(grid: Mapping[str, Sequence[str]], launch: Sequence[str], logs: Path) -> Iterator[Trial]:
    """Plan a launch for each combination, with the ranks' output in files only.

    Raises:
        AccelError: a flag is wrong, or the launch can't work on this machine.
    """
    host = Host.here()
    for number, values in enumerate(itertools.product(*grid.values())):
        chosen = dict(zip(grid, values, strict=True))
        words = [word for name, value in chosen.items() for word in (f"--{name}", value)]
        typed = split(CATALOGUE, ["--log_dir", str(logs / str(number)), *launch, *words])
        found = layers(CATALOGUE, typed, {})
        one = plan(resolve(CATALOGUE, found.values, found.notes), host, typed.script)
        yield Trial(chosen, one.replace(display=one.display.replace(shown=())))


def carried(trial: Trial, metric: str) -> Outcome:
    """Run a trial and read the metric that rank 0 printed."""
    started = time.monotonic()
    result = run(trial.plan)
    seconds = time.monotonic() - started
    logs = Path(trial.plan.display.log_dir or "").glob("*/attempt_0/0/stdout.log")
    newest = max(logs, key=lambda path: path.stat().st_mtime, default=None)  # the folder may hold an older sweep's
    printed = newest.read_text() if newest else ""
    found = re.findall(rf"{re.escape(metric)}\s+(-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)", printed)
    return Outcome(seconds, result, float(found[-1]) if found else None)


def table(trials: Sequence[Trial], outcomes: Sequence[Outcome], metric: str) -> Iterator[str]:
    """Yield the lines of the results, best first and failures last."""
    rows = [
        (
            *trial.arguments.values(),
            "-" if outcome.metric is None else f"{outcome.metric:g}",
            f"{outcome.seconds:.1f} s",
            outcome.words,
        )
        for trial, outcome in sorted(zip(trials, outcomes, strict=True), key=_rank)
    ]
    rows.insert(0, (*trials[0].arguments, metric, "time", "end"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _rank(pair: tuple[Trial, Outcome]) -> tuple[bool, float]:
    outcome = pair[1]
    return outcome.result.status != 0, -(outcome.metric or 0.0)


if __name__ == "__main__":
    sys.exit(main())
