"""The answers so far, and whether another fits them."""

from __future__ import annotations

from accel_config.catalogue import CATALOGUE
from accel_config.checking.rules import broken
from accel_config.errors import SettingError
from accel_config.settings.origin import FILE, TO_BE_MADE, Origin, Value
from accel_config.settings.paradigm import SWITCHES
from accel_config.settings.resolved import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_config.settings.declaration import Setting
    from accel_config.settings.resolved import Settings

ANSWER = Origin("your answer", FILE)
KINDS = dict(SWITCHES)
NEEDED = "an answer is needed"


class Answers:
    """The values of the settings that were answered."""

    def __init__(self) -> None:
        """Start without any."""
        self.values: dict[str, Value] = {}
        self.unset: dict[str, str] = {}
        """Answers that mean the same as none, as they were given (``all``)."""
        self._settings: Settings | None = None

    def settings(self) -> Settings:
        """Return the settings as answered so far."""
        if self._settings is None:
            self._settings = resolve(CATALOGUE, [self.values])
        return self._settings

    def keep(self, setting: Setting, raw: Any) -> None:
        """Add an answer that `refusal` accepts."""
        value = None if raw is None else setting.parse(raw, ANSWER)
        if value is None:
            self.unset |= {} if raw is None else {setting.name: str(raw)}
        else:
            self._add(_values(setting, value))

    def settings_with(self, setting: Setting, raw: Any) -> Settings:
        """Return the settings as they would be with another answer, which has the right type."""
        return resolve(CATALOGUE, [{**self.values, **_values(setting, setting.parse(raw, ANSWER))}])

    def keep_to_make(self, setting: Setting, name: str) -> None:
        """Add the name of something that is to be made at the end."""
        self._add({setting.name: Value(name, TO_BE_MADE)})

    def _add(self, values: dict[str, Value]) -> None:
        self.values |= values
        self._settings = None

    def refusal(self, setting: Setting, raw: Any) -> str:
        """Return why ``raw`` can't be the answer; empty where it can."""
        if raw is None:
            return ""
        try:
            value = setting.parse(raw, ANSWER)
        except SettingError as error:
            return str(error).removeprefix(f"{ANSWER}: ")
        if value == "":
            return NEEDED
        after = broken(self.settings_with(setting, raw))
        before = broken(self.settings()) if after else []
        return "\n".join(message for message in after if message not in before)


def _values(setting: Setting, value: object) -> dict[str, Value]:
    """Return what an answer sets; a file holds a switch as its ``distributed_type``, and nothing where it is off."""
    kind = KINDS.get(setting.name)
    if kind is None or setting.key is not None:
        return {setting.name: Value(value, ANSWER)}
    return {"distributed_type": Value(kind, ANSWER)} if value else {}
