"""What a launcher describes of its machine, as planning knows it; `portrait` reads the rest."""

from __future__ import annotations

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Subject(Record):
    """One machine of the run."""

    python: str
    """The ranks' interpreter."""
    words: tuple[str, ...]
    """The script, module or program, and its arguments."""
    how: str = "script"
    """What the first word is: ``script``, ``module`` or ``program``."""
    folder: str = "."
    """The launcher's working folder."""
    settings: Mapping[str, str] = {}
    """The settings that aren't built in and should be the same everywhere, without secrets."""
    where: str = "CPU"
    """The kind of the ranks' devices."""
    devices: tuple[str, ...] = ()
    """The model, or else the kind, of each visible device."""
    driver: str = ""
    """The version of NVIDIA's driver."""
    allowed: tuple[str, ...] = ()
    """The kinds of differences that are meant: ``--allow_difference``."""
