"""Runs scripts twice up to their second step: without data, and really, on the CPU under torch's own tracker.

    python -m tests.estimate.really '[["train.py", "--epochs", "2"]]'

It prints both results of each as JSON; only the first with the word `traced` after them. Each run is a fork of this process, which has imported torch once for all. What
differs between the CPU and a device is chosen explicitly: the device's kernels, and the form of its optimizers.
"""

import json
import os
import runpy
import socket
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch._subclasses.fake_tensor
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.data import dataloader

from accel_estimate.tracing import paths
from accel_estimate.tracing.script import command
from accel_estimate.tracing.script.program import rehearse
from accel_estimate.tracing.script.replacing import groups

Base: Any = MemTracker
optimizers: Any = import_module("torch.optim.optimizer")
trees: Any = import_module("torch.utils._pytree")


modules: Any = import_module("torch.distributed._tools.mod_tracker")


def nothing(*_args: object, **_named: object) -> None: ...


class Tracker(Base):
    """The tracker, for models that run several times in a step, and for frozen parameters.

    Its hooks on a module's inputs would keep gradients longer than a step itself does.
    """

    def __init__(self) -> None:
        super().__init__()
        modules.register_multi_grad_hook = nothing

    def _track_module_params_and_buffers(self, module: Any, **_hooks: bool) -> Any:
        return super()._track_module_params_and_buffers(module, install_grad_hooks=False)

    def _pre_fw_hook(self, module: Any, inputs: Any) -> None:
        inside = self._mod_tracker.parents - {"Global", self._mod_tracker.get_known_fqn(module)}
        if module in self.memory_tracking and not self._mod_tracker.is_bw and not inside:
            self.reset_mod_stats()
        super()._pre_fw_hook(module, inputs)


class Enough(BaseException):
    """The second step is done."""


def without_data(script: str, *words: str) -> Any:
    return rehearse(script, words, host=False)


def without_device(script: str, *words: str) -> Any:
    return rehearse(script, words, host=True)


def leaves(found: Any) -> list[Any]:
    return [one for one in trees.tree_leaves(found) if isinstance(one, torch.Tensor)]


def as_on_a_device(script: str, *words: str) -> int:
    optimizers._get_foreach_kernels_supported_devices = lambda: ["cpu"]
    return really(script, *words)


def really(script: str, *words: str) -> int:
    """The peak that the tracker counts, from the first optimizer on."""
    first, fetch = optimizers.Optimizer.__init__, dataloader._BaseDataLoaderIter.__next__
    tracker, entered, steps, call = Tracker(), [], [], torch.nn.Module.__call__
    batches: dict[int, Any] = {}

    def begins(self: Any, *args: Any, **kwargs: Any) -> None:
        first(self, *args, **kwargs)
        if not entered:
            entered.append(True)
            tracker.track_external(*{id(one): one for group in self.param_groups for one in group["params"]}.values())
            tracker.__enter__()

    def fetched(self: Any) -> Any:
        with _disable_current_modes():
            found = fetch(self)
        batches.update((id(one), one) for one in leaves(found))
        return found

    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Count a batch from where it is used: on a device it moves there only then."""
        if entered:
            tracker.track_external(*(one for one in leaves((args, kwargs)) if batches.pop(id(one), None) is not None))
        return call(self, *args, **kwargs)

    def stepped(*_: Any) -> None:
        steps.append(True)
        if len(steps) == 2:
            raise Enough

    optimizers.Optimizer.__init__, dataloader._BaseDataLoaderIter.__next__ = begins, fetched
    torch.nn.Module.__call__ = called
    optimizers.register_optimizer_step_post_hook(stepped)
    sys.argv = [script, *words]
    sys.path.insert(0, str(Path(script).resolve().parent))
    try:
        with paths.of_the_device():
            runpy.run_path(script, run_name="__main__")
    except Enough:
        tracker.__exit__(None, None, None)
    peak = tracker.get_tracker_snapshot("peak")
    return max(sum(v for k, v in parts.items() if k == "Total") for parts in peak.values())


def eager(
    query: Any, key: Any, value: Any, mask: Any = None, p: float = 0.0, causal: bool = False, **more: Any
) -> Any:
    """The one attention that the CPU runs as a device does."""
    return torch.ops.aten._scaled_dot_product_attention_math(query, key, value, mask, p, causal, None, **more)[0]


def launched(processes: int) -> None:
    """Set what a launcher sets for the first of several processes; nothing for none."""
    for name in groups.VARIABLES:
        os.environ.pop(name, None)
    if processes:
        os.environ.update(command.launched(processes))


def several(script: str, *words: str) -> int:
    """The peak of the first of several processes, which are forks of this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ["MASTER_PORT"] = str(free.getsockname()[1])
    for rank in range(1, int(os.environ.get("WORLD_SIZE", "1"))):
        if os.fork() == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            try:
                as_on_a_device(script, *words)
            finally:
                os._exit(0)
    return as_on_a_device(script, *words)


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
    sys.modules.setdefault("triton", None)  # pyright: ignore[reportArgumentType] - as in a script's process
    torch._subclasses.fake_tensor.FakeTensorMode()  # it imports more
    paths.attention = eager
    cases: list[list[Any]] = json.loads(sys.argv[1])
    texts = [Path(word).read_text() for case in cases for word in case[:2] if str(word).endswith(".py")]
    for name in ("sklearn.datasets", "accelerate", "transformers", "transformers.trainer"):
        library = name.partition(".")[0]
        if find_spec(library) and any(library in text for text in texts):
            __import__(name)
    found: list[Any] = []
    for case in cases:
        launched(case.pop(0) if isinstance(case[0], int) else 0)
        traced, real = forked(without_data, case), several
        if isinstance(traced, dict) and not traced["uses_device"] and "training" in traced:
            traced, real = forked(without_device, case), really
        found.append({"traced": traced} if sys.argv[2:] else {"traced": traced, "really": forked(real, case)})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
