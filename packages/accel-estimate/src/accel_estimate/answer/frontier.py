"""The frontier: the largest batch for each length, in each strategy."""

from __future__ import annotations

from functools import partial

from accel_config.record import Record
from accel_estimate.answer.answers import Server, Training
from accel_estimate.answer.reach import largest
from accel_estimate.answer.strategies import strategies
from accel_estimate.devices.limits import read_devices, room
from accel_estimate.estimation.subject import blueprint_of
from accel_estimate.model.weights import logical, stored_packing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_estimate.answer.search import Answer
    from accel_estimate.model.checkpoint import Model
    from accel_estimate.serving.settings import Serving
    from accel_estimate.training.recipe import Recipe

_SHORTEST, _LONGEST, _MOST = 256, 2**20, 9
_PACKED = ("float8", "int8", "int4")


class Line(Record):
    """The largest batch of one strategy for each length, 0 where not one sequence fits."""

    name: str
    points: tuple[tuple[int, int], ...]


def of_training(model: Model, device: str, recipe: Recipe, answer: Answer | None) -> tuple[Line, ...]:
    """Return the lines of the run as asked for, of the answer, and of each strategy that differs from it."""
    where = read_devices(device)
    blueprint, weights = blueprint_of(model), logical(model.tensors, model.config)
    recipes = {"as asked": recipe}
    if answer is not None and answer.fits:
        recipes["the answer"] = answer.settings
    recipes |= {it.name: it.recipe for it in strategies(model, where, recipe) if it.recipe != recipe}
    run = Training(model.config, weights, blueprint)
    lines: list[Line] = []
    for name, one in recipes.items():

        def fits(length: int, batch: int, one: Recipe = one) -> bool:
            return run.need(one.replace(seq_len=length, batch_size=batch)) <= room(where.limit)

        those = (blueprint.encoder_tokens,) if blueprint.fixed else lengths(blueprint.positions, recipe.seq_len)
        lines.append(_line(name, those, fits))
    return tuple(lines)


def of_serving(model: Model, device: str, how: Serving) -> tuple[Line, ...]:
    """Return the lines of the server as asked for, and of narrower weights."""
    limit, blueprint = read_devices(device).limit, blueprint_of(model)
    server = Server(model.config, logical(model.tensors, model.config), blueprint)
    kinds = {f"weights {how.weights}": how}
    if not stored_packing(model.config) and how.quantize == "none" and how.dtype not in _PACKED:
        kinds |= {f"weights in {dtype}": how.replace(dtype=dtype) for dtype in _PACKED}
    lines: list[Line] = []
    for name, one in kinds.items():

        def fits(length: int, batch: int, one: Serving = one) -> bool:
            return server.need(one.replace(context_len=length, batch_size=batch)) <= limit

        lines.append(_line(name, lengths(blueprint.positions, how.context_len), fits))
    return tuple(lines)


def lengths(positions: int, asked: int) -> tuple[int, ...]:
    """Return the lengths to draw: doubled from 256 to the model's limit, or to four times what was asked for."""
    last = positions or min(max(4 * asked, 8192), _LONGEST)
    found = [last]
    while found[-1] // 2 >= _SHORTEST and len(found) < _MOST:
        found.append(found[-1] // 2)
    return tuple(reversed(found))


def _line(name: str, those: tuple[int, ...], fits: Callable[[int, int], bool]) -> Line:
    return Line(name, tuple((length, largest(partial(fits, length))) for length in those))
