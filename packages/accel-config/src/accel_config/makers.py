"""What the wizard can make for whoever has no answer yet, by those who are installed: the role of a SageMaker job."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import Settings

GROUP = "accel_config.makers"
"""The entry points that make what a setting names, each called like the setting: a function of the settings answered,
which returns lines to tell and raises AccelError where it can't. Making again what is there already is no failure."""


def names() -> frozenset[str]:
    """Return the settings whose values somebody installed can make."""
    from importlib.metadata import entry_points

    return frozenset(entry_points(group=GROUP).names)


def make(name: str, settings: Settings) -> list[str]:
    """Make what the setting called ``name`` names; return what is to be told of it.

    Raises:
        AccelError: it can't be made.
    """
    from importlib.metadata import entry_points

    maker: Callable[[Settings], list[str]] = entry_points(group=GROUP)[name].load()
    return maker(settings)
