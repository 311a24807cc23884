"""What ranks are bound to, and whether the two settings about it agree."""

from __future__ import annotations

from accel_config.catalogue.hardware import binding
from accel_config.errors import nearest
from accel_config.settings.readers import cpus
from accel_config.showing.wording import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.resolved import Settings

WORDS = ("numa", "socket", "cores", "none")


def lists(settings: Settings) -> tuple[frozenset[int], ...]:
    """Return the CPUs of each local rank where ``bind`` lists them; none where it is a word.

    Raises:
        ValueError: it is neither.
    """
    text = binding(settings)[0]
    return () if text in WORDS else tuple(map(cpus, text.split("/")))


def invalid(settings: Settings) -> str:
    """Return what is wrong with ``bind`` alone."""
    try:
        lists(settings)
    except ValueError:
        text = settings.value("bind").value
        return (
            f"{settings.origin('bind')}: bind must be one of {', '.join(WORDS)}, or a list of CPUs for each local "
            f"rank, such as 0-3,8-11/4-7, not {text!r}{nearest(str(text), WORDS)}"
        )
    return ""


def contradicting(settings: Settings) -> str:
    """Return how ``bind`` contradicts ``enable_cpu_affinity`` of the same place; else the stronger one decides."""
    bind, affinity = settings.value("bind"), settings.value("enable_cpu_affinity")
    if not affinity.value or bind.value == "numa" or bind.origin.layer != affinity.origin.layer:
        return ""
    both = describe(settings, "bind", "enable_cpu_affinity")
    return f"{both}: the second means numa, and lets the script bind itself to it; leave one of them out"
