"""What other packages do for the wizard: make what an answer names (the role of a job), fit settings to a model."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.metadata import EntryPoint

    from accel_config.settings.resolved import Settings

GROUP = "accel_config.asking.makers"
"""The group of entry points, named like the setting whose value it makes: functions of the settings as answered.
Each returns lines to print, or raises AccelError. Making what exists already isn't a failure."""
RECOMMENDING = "accel_config.asking.recommending"
"""The group of the entry point that fits settings to a model: a function of its name and of what is trained
(``full``, ``lora``, ``qlora``). It returns what to print, and the text of a config file, or raises AccelError."""


def recommender() -> EntryPoint | None:
    """Return the entry point that fits settings to a model; nothing is loaded yet."""
    from importlib.metadata import entry_points

    found = (point for point in entry_points(group=RECOMMENDING) if point.dist and point.dist.name == "accel-cli")
    return next(found, None)


def names() -> frozenset[str]:
    """Return the settings whose values an installed package can make."""
    from importlib.metadata import entry_points

    return frozenset(entry_points(group=GROUP).names)  # names alone: nothing is loaded until a user asks for it


def make(name: str, settings: Settings) -> list[str]:
    """Make the value of the setting called ``name``; return lines to print.

    Raises:
        AccelError: it can't be made.
    """
    from importlib.metadata import entry_points

    maker: Callable[[Settings], list[str]] = entry_points(group=GROUP)[name].load()
    return maker(settings)
