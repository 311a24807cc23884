"""A config.json of transformers: values from strangers, checked when a family asks for them."""

from __future__ import annotations

from accel_estimate.errors import CorruptFileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MOST_EXPERTS = 4096
_MOST_LAYERS = 4096
_LARGEST = 2**40


class ConfigJson:
    """A config.json whose values are checked when they are asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Take the parsed JSON."""
        self.values = values

    def count(self, *keys: str, default: int | None = None, most: int = _LARGEST) -> int:
        """Return the first of `keys` that is set, as a whole number from 0 to `most`.

        Raises:
            CorruptFileError: no key is set and there is no default, or the value isn't such a number.

        """
        for key in keys:
            value = self.values.get(key)
            if value is not None:
                if type(value) is not int or not 0 <= value <= most:
                    raise CorruptFileError(f"config.json: {key} = {value!r} isn't a whole number from 0 to {most:,}")
                return value
        if default is None:
            raise CorruptFileError(f"config.json: {keys[0]} is missing")
        return default

    def heads(self, *keys: str) -> int:
        """Return a number of attention heads, at least 1.

        Raises:
            CorruptFileError: see `count`; or the number is 0.

        """
        heads = self.count(*keys)
        if heads == 0:
            raise CorruptFileError(f"config.json: {keys[0]} = 0 isn't possible; a layer has at least one head")
        return heads

    def layers(self, *keys: str, default: int | None = None) -> int:
        """Return a number of layers, at most 4,096.

        Raises:
            CorruptFileError: see `count`.

        """
        return self.count(*keys, default=default, most=_MOST_LAYERS)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return a boolean; 0 and 1 count.

        Raises:
            CorruptFileError: the value is something else.

        """
        value = self.values.get(key)
        return default if value is None else bool(self._checked(key, value in (0, 1), "true or false"))

    def text(self, key: str, default: str = "") -> str:
        """Return a string.

        Raises:
            CorruptFileError: the value is something else.

        """
        value = self.values.get(key)
        return default if value is None else self._checked(key, isinstance(value, str), "text")

    def list(self, key: str) -> list[Any]:
        """Return a list, empty if the key isn't set.

        Raises:
            CorruptFileError: the value is something else.

        """
        value = self.values.get(key)
        return [] if value is None else self._checked(key, isinstance(value, list), "a list")

    def entries(self, key: str) -> int:
        """Return the number of entries of a mapping, 0 if the key isn't set.

        Raises:
            CorruptFileError: the value is something else.

        """
        value = self.values.get(key)
        return 0 if value is None else len(self._checked(key, isinstance(value, dict), "an object"))

    def drops(self, key: str, default: float) -> bool:
        """Return whether a dropout rate is above zero.

        Raises:
            CorruptFileError: the value isn't a number.

        """
        value = self.values.get(key)
        return (default if value is None else self._checked(key, isinstance(value, (int, float)), "a number")) != 0

    def _checked(self, key: str, valid: bool, wanted: str) -> Any:
        value = self.values[key]
        if not valid:
            raise CorruptFileError(f"config.json: {key} = {value!r} isn't {wanted}")
        return value
