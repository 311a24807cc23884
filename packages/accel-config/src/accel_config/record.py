"""Frozen records for the launch path.

Importing ``dataclasses`` takes as long as starting a bare interpreter, about 11 ms, most of it for ``typing``. The
path from the command to the script's first line imports neither.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_options):  # noqa: D103
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Record:
    """A value with named fields that never change: the class's annotations, in their order."""

    def __init_subclass__(cls) -> None:
        """Collect the fields of ``cls`` and of the records it extends."""
        cls._fields = tuple(dict.fromkeys([*getattr(cls, "_fields", ()), *cls.__annotations__]))

    def __init__(self, *values: Any, **named: Any) -> None:
        """Set the fields by position or name; the class has the defaults.

        Raises:
            TypeError: a field is missing, unknown or set twice.
        """
        fields: tuple[str, ...] = type(self)._fields
        if len(values) > len(fields):
            raise TypeError(f"{type(self).__name__} has {len(fields)} fields, got {len(values)} values")
        given = dict(zip(fields, values, strict=False))
        for name in named:
            if name in given or name not in fields:
                raise TypeError(f"{type(self).__name__}: unexpected {name!r}")
        given.update(named)
        for name in fields:
            if name not in given:
                if not hasattr(type(self), name):
                    raise TypeError(f"{type(self).__name__}: {name!r} is missing")
                given[name] = getattr(type(self), name)
        self.__dict__.update(given)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(f"{type(self).__name__}.{name} can't be set; use replace()")

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yield ``(name, value)`` for each field."""
        return ((name, self.__dict__[name]) for name in type(self)._fields)

    def __eq__(self, other: object) -> bool:
        """Equal when of the same class with equal fields."""
        return type(other) is type(self) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        """Hash of the fields, which must be hashable themselves."""
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        """Show the class and its fields."""
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self)})"

    def replace(self, **changes: Any) -> Self:
        """Return a copy with ``changes``."""
        return type(self)(**{**self.__dict__, **changes})
