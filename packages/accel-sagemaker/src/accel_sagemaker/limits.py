"""What the service takes, checked here: boto3 checks types, but lengths, patterns and choices only the service does.

Nothing of that is written down in this package: boto3 carries the service's own model.
"""

from __future__ import annotations

import re
from functools import cache

from accel_config.errors import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


def problems(request: dict[str, Any]) -> list[str]:
    """Return a line for each value of a CreateTrainingJob request that the service would refuse."""
    return list(_check(_shape(), request, ""))


def instance_types() -> tuple[str, ...]:
    """Return the instance types that this boto3 knows for training."""
    return tuple(_shape().members["ResourceConfig"].members["InstanceType"].enum)


@cache
def _shape() -> Any:
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    model = ServiceModel(Loader().load_service_model("sagemaker", "service-2"))
    return model.operation_model("CreateTrainingJob").input_shape


def _check(shape: Any, value: Any, here: str) -> Iterator[str]:
    if shape.type_name in CHECKS:
        yield from CHECKS[shape.type_name](shape, value, here)


def _structure(shape: Any, value: dict[str, Any], here: str) -> Iterator[str]:
    inside = f"{here}." if here else ""
    for name in shape.required_members:
        if name not in value:
            yield f"{inside}{name} is missing"
    for name, item in value.items():
        if name not in shape.members:
            yield f"{inside}{name} is no part of the request{nearest(name, shape.members)}"
        else:
            yield from _check(shape.members[name], item, f"{inside}{name}")


def _list(shape: Any, value: list[Any], here: str) -> Iterator[str]:
    yield from _size(shape, len(value), here, "entries")
    for place, item in enumerate(value):
        yield from _check(shape.member, item, f"{here}[{place}]")


def _map(shape: Any, value: dict[str, Any], here: str) -> Iterator[str]:
    yield from _size(shape, len(value), here, "entries")
    for name, item in value.items():
        yield from _check(shape.key, name, f"{here}: the name {name!r}")
        yield from _check(shape.value, item, f"{here}.{name}")


def _integer(shape: Any, value: int, here: str) -> Iterator[str]:
    yield from _size(shape, value, here, "")


def _text(shape: Any, value: str, here: str) -> Iterator[str]:
    yield from _size(shape, len(value), here, "characters")
    if shape.enum and value not in shape.enum:
        yield f"{here} can't be {value!r}{nearest(value, shape.enum)}"
    pattern = shape.metadata.get("pattern")
    if pattern and not _matches(pattern, value):
        yield f"{here} must match {pattern}, and {value!r} doesn't"


CHECKS: dict[str, Callable[[Any, Any, str], Iterator[str]]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _text,
    "integer": _integer,
    "long": _integer,
}


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value, re.DOTALL) is not None
    except (
        re.error
    ):  # the model's patterns are Java's, which knows classes that Python doesn't: the service will tell
        return True


def _size(shape: Any, size: int, here: str, what: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield f"{here} must have at least {low} {what}" if what else f"{here} must be at least {low}"
    if high is not None and size > high:
        yield f"{here} has {size} {what}, at most {high} are taken" if what else f"{here} must be at most {high}"
