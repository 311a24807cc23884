"""What two steps of a script took, as JSON; or where it stopped, and what helps."""

from __future__ import annotations

import os

from accel_estimate.estimation.memory_report import training_json
from accel_estimate.tracing import limits
from accel_estimate.tracing.result import estimate
from accel_estimate.tracing.script.command import CARD
from accel_estimate.tracing.script.memory import SKIP, UnsupportedError
from accel_estimate.tracing.script.replacing import groups
from accel_estimate.tracing.script.steps import STEPS
from accel_estimate.training.recipe import Recipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_estimate.tracing.script.lines import Lines
    from accel_estimate.tracing.script.memory import Memory
    from accel_estimate.tracing.script.steps import Steps
    from accel_estimate.tracing.tape import Block

MOST_LINES = 10


def training(memory: Memory, steps: Steps) -> dict[str, Any]:
    """Return the estimate, and what is alive at its peak by the user's lines."""
    tape = memory.tape
    if not tape.blocks or not tape.peaks():
        return {"training": None}
    found = training_json(
        estimate(tape, Recipe(num_processes=memory.processes, card=os.environ.get(CARD, "")), steps.trained), ()
    )
    peak = max(tape.peaks(), key=lambda one: one.total)
    amounts: dict[tuple[str, str], int] = {}
    for block in tape.alive(peak.at):
        amounts[_where(block)] = amounts.get(_where(block), 0) + block.rounded
    most = sorted(amounts.items(), key=lambda one: -one[1])[:MOST_LINES]
    return {
        "training": found,
        "peak_line": peak.line,
        "lines": [{"line": line, "kind": kind, "bytes": amount} for (line, kind), amount in most],
    }


def _where(block: Block) -> tuple[str, str]:
    return block.line, block.kind


def _first(error: BaseException) -> BaseException:
    """Return what isn't supported, where a library made another error of it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UnsupportedError):
        cause = cause.__cause__ or cause.__context__
    return cause or error


def stopped(script: str, error: BaseException | None, done: int, lines: Lines) -> str:
    """Return why there is no answer, with the user's line and the way out."""
    count = f"{done} optimizer step{'' if done == 1 else 's'}"
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return f"{script} ended after {count}; give it enough data and epochs for {STEPS}"
    where = lines.of(error.__traceback__) or script
    error = _first(error)
    if isinstance(error, SystemExit):
        return f"{where} exited{' with status' if isinstance(error.code, int) else ':'} {error.code}"
    if isinstance(error, UnsupportedError):
        return f"{where} {error}"
    if isinstance(error, KeyError) and error.args[0] in groups.VARIABLES:
        return f"{where} needs {error.args[0]}, which launchers set; add --num_processes N before --"
    if not isinstance(error, Exception):
        return f"{where} ended with {type(error).__name__}"
    reason = limits.reason(error)
    return f"{where} {reason}; {SKIP}" if "without data" in reason else f"{where} {reason}"
