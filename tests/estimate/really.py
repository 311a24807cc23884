"""Runs scripts twice up to their second step: without data, and really, on the CPU under torch's own tracker.

    python -m tests.estimate.really '[["train.py", "--epochs", "2"]]'

It prints both results of each as JSON. Each run is a fork of this process, which has imported torch once for all. What
differs between the CPU and a device is chosen explicitly: the device's kernels, and the form of its optimizers.
"""

import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
import torch._subclasses.fake_tensor
from torch.distributed._tools.mem_tracker import MemTracker
from torch.optim import optimizer as optimizers
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.data import dataloader

from accel_estimate.script.program import rehearse
from accel_estimate.tracing import paths

Base: Any = MemTracker


class Tracker(Base):
    """The tracker, for models that run several times in a step."""

    def _pre_fw_hook(self, module: Any, inputs: Any) -> None:
        if module in self.memory_tracking and not self._mod_tracker.is_bw:
            self.reset_mod_stats()
        super()._pre_fw_hook(module, inputs)


class Enough(BaseException):
    """The second step is done."""


def without_data(script: str, *words: str) -> Any:
    found = rehearse(script, words, host=False)
    return found if found["uses_device"] or found.get("training") else {"stopped": found}


def without_device(script: str, *words: str) -> Any:
    return rehearse(script, words, host=True)


def really(script: str, *words: str) -> int:
    """The peak that the tracker counts, from the first optimizer on."""
    optimizers._get_foreach_kernels_supported_devices = lambda: ["cpu"]  # as on a device
    first, fetch = optimizers.Optimizer.__init__, dataloader._BaseDataLoaderIter.__next__
    tracker, entered, steps = Tracker(), [], []

    def begins(self: Any, *args: Any, **kwargs: Any) -> None:
        first(self, *args, **kwargs)
        if not entered:
            entered.append(True)
            tracker.track_external(*{id(one): one for group in self.param_groups for one in group["params"]}.values())
            tracker.__enter__()

    def fetched(self: Any) -> Any:
        with _disable_current_modes():
            found = fetch(self)
        if entered:
            leaves = torch.utils._pytree.tree_leaves(found)
            tracker.track_external(*(one for one in leaves if isinstance(one, torch.Tensor)))
        return found

    def stepped(*_: Any) -> None:
        steps.append(True)
        if len(steps) == 2:
            raise Enough

    optimizers.Optimizer.__init__, dataloader._BaseDataLoaderIter.__next__ = begins, fetched
    optimizers.register_optimizer_step_post_hook(stepped)
    sys.argv = [script, *words]
    try:
        with paths.of_the_device():
            runpy.run_path(script, run_name="__main__")
    except Enough:
        tracker.__exit__(None, None, None)
    peak = tracker.get_tracker_snapshot("peak")
    return max(sum(v for k, v in parts.items() if k == "Total") for parts in peak.values())


def forked(run: Callable[..., Any], case: list[str]) -> Any:
    """What a function returns in a fork of this process, or its traceback."""
    reads, writes = os.pipe()
    if os.fork() == 0:
        os.close(reads)
        os.dup2(2, 1)
        try:
            found = run(*case)
        except BaseException:
            found = traceback.format_exc()
        with os.fdopen(writes, "w") as channel:
            json.dump(found, channel)
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as channel:
        text = channel.read()
    os.wait()
    return json.loads(text or '"it died"')


def main() -> None:
    import torch.distributed.tensor

    for name in ("sklearn.datasets", "accelerate", "transformers", "transformers.trainer"):
        if find_spec(name.partition(".")[0]):
            __import__(name)
    found: list[Any] = []
    for case in json.loads(sys.argv[1]):
        traced = forked(without_data, case)
        if isinstance(traced, dict) and not traced.get("uses_device"):
            traced = forked(without_device, case)
        found.append({"traced": traced, "really": forked(really, case)})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
