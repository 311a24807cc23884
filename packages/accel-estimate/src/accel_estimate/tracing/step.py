"""Two steps of training under the tracker: the second one finds the optimizer's states where the first left them."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from functools import partial
from importlib import import_module

from accel_config.record import Record
from accel_estimate.errors import EstimateError
from accel_estimate.tracing import building, groups, optimizers, paths
from accel_estimate.tracing.kernels import calls
from accel_estimate.tracing.limits import explained
from accel_estimate.tracing.tracker import BACKWARD, FORWARD, STEP, Tracker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from accel_estimate.tracing.building import Origin
    from accel_estimate.tracing.tape import Tape
    from accel_estimate.training.recipe import Recipe

torch: Any = import_module("torch")
transformers: Any = import_module("transformers")

STEPS, PASSES = 2, 2
"""What is run: further steps, and further passes of a step, find the memory as the second one does."""


class Traced(Record):
    """What two steps allocate and release, the number of trained parameters, and what a reader should know."""

    tape: Tape
    trained: int
    notes: tuple[str, ...]


def trace(origin: Origin, recipe: Recipe, *, fake: bool = True, device: bool = True) -> Traced:
    """Run two steps; `fake`: on tensors without data, `device`: on the paths of a CUDA device.

    Raises:
        UsageError: transformers doesn't know the model.
        UntraceableError: its code can't run without data.

    """
    config = building.configured(origin, recipe)
    quiet = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        model = building.build(origin, config, recipe)
        tape = _traced(model, config, recipe, fake=fake, device=device)
    except EstimateError:
        raise
    except Exception as error:
        raise explained(error) from error
    finally:
        transformers.logging.set_verbosity(quiet)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return Traced(tape, trained, building.notes(config, recipe))


def _traced(model: Any, config: Any, recipe: Recipe, *, fake: bool, device: bool) -> Tape:
    with ExitStack() as stack:
        mesh = stack.enter_context(groups.processes(recipe))
        stack.enter_context(building.not_packed())
        if device:
            stack.enter_context(paths.of_the_device())
        if device and fake:
            stack.enter_context(calls.of_the_device(model))
        if fake:
            stack.enter_context(import_module("torch._subclasses.fake_tensor").FakeTensorMode())
        building.materialize(model)
        tracker = Tracker(
            building.vocabulary(config),
            recipe.batch_size * max(recipe.seq_len - 1, 1),
            host_scalars=recipe.optimizer_form != "fused",
        )
        buckets = groups.distribute(model, recipe, mesh)
        tracker.hold(buckets, "communication")
        _run(tracker, model, partial(building.batch, config, model, recipe), recipe)
        return tracker.tape


def _run(tracker: Tracker, model: Any, batch: Callable[[], dict[str, Any]], recipe: Recipe) -> None:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with tracker.watching(model), tracker:
        tracker.hold((*model.parameters(), *model.buffers()), "weights")
        optimizer = optimizers.make(trained, recipe)
        for _ in range(STEPS):
            for left in reversed(range(min(recipe.gradient_accumulation, PASSES))):
                groups.before_a_pass(model, reduces=left == 0 or recipe.sync_each_batch)
                _pass(tracker, model, batch, recipe)
                tracker.mark((one.grad for one in trained if one.grad is not None), "gradients")
            with tracker.phase(STEP):
                optimizer.step()
            optimizer.zero_grad()


def _pass(tracker: Tracker, model: Any, batch: Callable[[], dict[str, Any]], recipe: Recipe) -> None:
    with tracker.phase(FORWARD):
        with _precision(recipe):
            outputs = model(**batch())
        loss = outputs.loss
    with tracker.phase(BACKWARD):
        loss.backward()


def _precision(recipe: Recipe) -> Any:
    if not recipe.under_autocast:
        return nullcontext()
    return torch.autocast("cpu", torch.float16 if recipe.mixed_precision == "fp16" else torch.bfloat16)
