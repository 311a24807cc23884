"""What the wizard can make where there is no answer yet, by installed packages: the role of a SageMaker job."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_config.settings.resolved import Settings

GROUP = "accel_config.asking.makers"
"""The group of entry points, named like the setting whose value it makes: functions of the settings as answered.
Each returns lines to print, or raises AccelError. Making what exists already isn't a failure."""


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
