"""The service's limits, checked on this machine. boto3 checks types; lengths, patterns and choices are checked too.

The limits aren't written down in this package: boto3 contains the service's own model.
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
    """Return the instance types for training in this boto3."""
    return tuple(_shape().members["ResourceConfig"].members["InstanceType"].enum)


@cache
def _shape() -> Any:
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    model = ServiceModel(Loader().load_service_model("sagemaker", "service-2"))
    return model.operation_model("CreateTrainingJob").input_shape


def _check(shape: Any, value: Any, path: str) -> Iterator[str]:
    if shape.type_name in CHECKS:
        yield from CHECKS[shape.type_name](shape, value, path)


def _structure(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    inside = f"{path}." if path else ""
    for name in shape.required_members:
        if name not in value:
            yield f"{inside}{name} is missing"
    for name, item in value.items():
        if name not in shape.members:
            yield f"{inside}{name} isn't part of the request{nearest(name, shape.members)}"
        else:
            yield from _check(shape.members[name], item, f"{inside}{name}")


def _list(shape: Any, value: list[Any], path: str) -> Iterator[str]:
    yield from _size(shape, len(value), path, "entries")
    for place, item in enumerate(value):
        yield from _check(shape.member, item, f"{path}[{place}]")


def _map(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    yield from _size(shape, len(value), path, "entries")
    for name, item in value.items():
        yield from _check(shape.key, name, f"{path}: the name {name!r}")
        yield from _check(shape.value, item, f"{path}.{name}")


def _integer(shape: Any, value: int, path: str) -> Iterator[str]:
    yield from _size(shape, value, path, "")


def _text(shape: Any, value: str, path: str) -> Iterator[str]:
    yield from _size(shape, len(value), path, "characters")
    if shape.enum and value not in shape.enum:
        yield f"{value!r} isn't valid for {path}{nearest(value, shape.enum)}"
    pattern = shape.metadata.get("pattern")
    if pattern and not _matches(pattern, value):
        yield f"{path} must match {pattern}, and {value!r} doesn't"


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
    except re.error:  # the model's patterns are Java's, with classes that Python lacks; the service checks them
        return True


def _size(shape: Any, size: int, path: str, what: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield f"{path} must have at least {low} {what}" if what else f"{path} must be at least {low}"
    if high is not None and size > high:
        yield f"{path} has {size} {what}, but at most {high} are valid" if what else f"{path} must be at most {high}"
