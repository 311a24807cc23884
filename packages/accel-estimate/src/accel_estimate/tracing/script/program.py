"""Runs a script up to its second optimizer step on tensors without data, in this process, and reports on it as JSON.

python -P -m accel_estimate.tracing.script.program PIPE {device|host} SCRIPT [ARGUMENT ...]
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from itertools import chain
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from accel_estimate.tracing.script.memory import Memory
    from accel_estimate.tracing.script.writing import Writing


def main() -> None:
    """Run what the command line names; end without what libraries would still do."""
    pipe, where, script, *words = sys.argv[1:]
    found = rehearse(script, words, host=where == "host")
    with os.fdopen(int(pipe), "w") as channel:
        json.dump(found, channel)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def rehearse(script: str, words: Sequence[str], *, host: bool) -> dict[str, Any]:
    """Return what a script's steps take, or where it stopped: the keys `training` or `stopped`."""
    sys.dont_write_bytecode = True
    sys.modules.setdefault("triton", None)  # pyright: ignore[reportArgumentType] - slow, unused, and loud at the end
    from accel_estimate.tracing.script import result
    from accel_estimate.tracing.script.lines import Lines
    from accel_estimate.tracing.script.memory import Memory
    from accel_estimate.tracing.script.replacing import cuda, groups, libraries, loading
    from accel_estimate.tracing.script.steps import STEPS, EnoughError, Steps
    from accel_estimate.tracing.script.writing import Writing

    lines = Lines(script)
    memory = Memory(lines, host=host)
    steps = Steps(memory)
    writing = Writing(lines)
    changes = libraries.saving(writing)
    others = (loading.changes(memory), groups.changes(), libraries.downloading())
    for name, more in chain.from_iterable(one.items() for one in others):
        changes.setdefault(name, []).extend(more)
    libraries.Changes(changes).begin()
    groups.pretend(memory)
    cuda.on_the_cpu(host=host)
    if not host:
        cuda.pretend(memory)
    stopped: BaseException | None = None
    with ExitStack() as stack:
        for context in _around(memory, steps):
            stack.enter_context(context)
        writing.refuse()
        try:
            _run(script, words)
        except EnoughError:
            pass
        except BaseException as error:  # the user's own, to be explained
            stopped = error
    if stopped is not None or steps.done < STEPS:
        return {"stopped": result.stopped(script, stopped, steps.done, lines), **_common(memory, writing)}
    return {**result.training(memory, steps), **_common(memory, writing)}


def _around(memory: Memory, steps: Any) -> Sequence[Any]:
    from accel_estimate.tracing import paths
    from accel_estimate.tracing.script.device import Device
    from accel_estimate.tracing.script.replacing import loading

    return (
        loading.parameters(memory),
        loading.loaders(),
        paths.of_the_device(),
        steps.followed(),
        memory.following(),
        memory,
        Device(memory),
    )


def _run(script: str, words: Sequence[str]) -> None:
    """Run a file as Python runs a script."""
    sys.argv = [script, *words]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))  # noqa: PTH100, PTH120 - as Python does
    module = ModuleType("__main__")
    module.__file__ = script
    sys.modules["__main__"] = module
    with open(script, "rb") as file:  # noqa: PTH123
        code = compile(file.read(), script, "exec")
    exec(code, vars(module))  # noqa: S102 - the user's own script


def _common(memory: Memory, writing: Writing) -> dict[str, Any]:
    return {
        "uses_device": memory.used and not memory.host,
        "skipped": [{"line": line, "what": what} for line, what in writing.skipped],
        "processes": memory.processes,
        "decided": [line for line in memory.lines.decisions if line],
        "guessed": [line for line in memory.lines.guesses if line],
    }


if __name__ == "__main__":
    main()
