"""What a new file holds: the answers, and values for which there was no question."""

from __future__ import annotations

from accel_config.catalogue import CATALOGUE
from accel_config.checking.file import in_scope
from accel_config.writing.spelling import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_config.asking.answers import Answers
    from accel_config.settings.declaration import Setting
    from accel_config.settings.resolved import Settings


def content(answers: Answers) -> dict[str, object]:
    """Return the keys of the file with their values, nested as there."""
    found: dict[str, Any] = {}
    settings = answers.settings()
    for setting in CATALOGUE.settings:
        value = answers.unset.get(setting.name)
        if setting.name in answers.values:
            value = plain(setting, answers.values[setting.name].value)
            value = setting.ask.kept(str(value)) if setting.ask and setting.ask.kept and value else value
        elif value is None:
            value = unasked(setting, settings)
        if value is None or setting.key is None or setting.secret or setting.scope not in in_scope(settings):
            continue
        mapping, _dot, own = setting.key.rpartition(".")
        (found.setdefault(mapping, {}) if mapping else found)[own] = value
    return found


def unasked(setting: Setting, settings: Settings) -> Any:
    """Return the value that a new file holds of a setting without an answer; None: the file leaves it out.

    Hugging Face's `accelerate` requires its own settings at the top level, so they are written with their defaults.
    """
    declared = setting.ask.unasked if setting.ask else None
    if declared is not None:
        return declared(settings) if callable(declared) else declared
    theirs = not setting.section.key and not setting.ours and setting.scope in in_scope(settings)
    return plain(setting, setting.default) if theirs and setting.default not in (None, (), "") else None
