"""What a setting can be: its type, its choices and bounds, and how a value of it is read."""

from __future__ import annotations

from accel_config.errors import SettingError
from accel_config.settings.forms import usual
from accel_config.settings.readers import READERS, WANTED
from accel_config.settings.span import Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_config.settings.origin import Origin

LONGEST = 200  # characters of a wrong value that a message shows


class Domain:
    """The values that a setting can have; `accel_config.settings.declaration.Setting` documents the attributes."""

    name: str
    kind: type
    """bool, int, Span, float, Duration, str or dict; of each item when ``many``."""
    many: bool
    default: Any
    choices: tuple[Any, ...]
    registry: str
    renamed: dict[str, str]
    unset: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    or_zero: bool
    joins: bool
    pairs: bool
    lines: bool
    secret: bool
    masked: bool

    @property
    def known(self) -> tuple[str, ...]:
        """The values to choose from, as text: its choices, or the names that packages have registered.

        A registry is read from disk at each call. `parse` accepts other names too: the launcher explains what is
        missing.
        """
        if self.registry:
            from accel_config.settings.registry import registered

            return registered(self.registry)
        return tuple(map(str, self.choices))

    @property
    def wanted(self) -> str:
        """A description of its values, for messages and help."""
        if self.choices:
            return "one of " + ", ".join(map(usual, self.choices))
        what = "NAME=VALUE" if self.pairs else WANTED[self.kind]
        if self.minimum is not None and self.maximum is not None:
            what += f" from {self.minimum} to {self.maximum}"
        elif self.minimum is not None:
            what += f", at least {self.minimum}" + ", or 0" * self.or_zero
        elif self.maximum is not None:
            what += f", at most {self.maximum}"
        return f"a list of {len(self.default)} ({what})" if self._fixed else f"a list ({what})" if self.many else what

    @property
    def _fixed(self) -> bool:
        return self.many and bool(self.default)

    def listed(self, text: str) -> list[str]:
        """Return the items of a list that is written as one text."""
        return [item for item in text.split("\n") if item.strip()] if self.lines else text.split(",")

    def parse(self, raw: Any, origin: Origin) -> Any:
        """Read ``raw``, text or the value of a file: the one door for flags, files, variables and answers.

        Raises:
            SettingError: ``raw`` isn't valid; the message names the setting, the origin and ``raw``.
        """
        if (self.kind is dict) != isinstance(raw, dict):
            raise self._refusal(raw, origin)
        if self.kind is dict:
            return raw
        if self.joins and isinstance(raw, (list, tuple)):
            raw = ",".join(str(item) for item in raw)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return tuple(self._items(raw, origin)) if self.many else self._item(raw, raw, origin)

    def _items(self, raw: Any, origin: Origin) -> list[Any]:
        """Read a list; a list of fixed length can be text, ``true,false,false``, also in brackets."""
        listed: Any = raw.strip().strip("()[]").split(",") if isinstance(raw, str) and self._fixed else raw
        items: list[Any] = [*listed] if isinstance(listed, list) else [listed]
        if self.choices:
            items = [word.strip() for item in items for word in str(item).split(",")]
        if not self._fixed:
            items = [item for item in items if item != ""]  # old files hold it for a question that was skipped
        if self._fixed and len(items) != len(self.default):
            raise self._refusal(raw, origin)
        return [self._item(item, raw, origin) for item in items]

    def _item(self, item: Any, raw: Any, origin: Origin) -> Any:
        if isinstance(item, (dict, list, tuple)):
            raise self._refusal(raw, origin)
        text = str(item).strip() if self.kind is not str or self.choices else str(item)
        if text.lower() in self.unset:
            return None
        text = self.renamed.get(text.lower(), text)
        try:
            value = READERS[self.kind](text)
        except (ValueError, OverflowError):
            raise self._refusal(raw, origin) from None
        if self.choices:
            value = next((choice for choice in self.choices if str(choice).lower() == str(value).lower()), None)
        if value is None or not self._within(value) or (self.pairs and not _is_pair(text)):
            raise self._refusal(item if self.pairs else raw, origin)
        return value

    def _within(self, value: Any) -> bool:
        if self.or_zero and not value:
            return True
        least = value.least if isinstance(value, Span) else value
        return (self.minimum is None or least >= self.minimum) and (self.maximum is None or value <= self.maximum)

    def _refusal(self, raw: object, origin: Origin) -> SettingError:
        from accel_config.errors import nearest

        shown = "***" if self.secret or self.masked else repr(raw)
        if self.pairs and isinstance(raw, str) and "=" in raw:
            shown = f"{raw.partition('=')[0]!r}=***, whose name can't be a variable's"
        shown = shown if len(shown) <= LONGEST else shown[:LONGEST] + "..."
        hint = nearest(str(raw), map(str, self.choices)) if self.choices else ""
        return SettingError(f"{origin}: {self.name} must be {self.wanted}, not {shown}{hint}")


def _is_pair(text: str) -> bool:
    return text.partition("=")[0].isidentifier()
