"""What each rank executes: the script, the module or the program, with its own arguments untouched."""

from __future__ import annotations

from os.path import expanduser

from accel_config.catalogue import Launcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.settings import Settings

    from .host import Host


def interpreter(settings: Settings, host: Host) -> str:
    """Return the ranks' interpreter: the one that is named, else ours."""
    named = settings[Launcher].python
    return expanduser(named) if named else host.python


def argv(settings: Settings, host: Host, script: Sequence[str], *, unbuffered: bool = False) -> tuple[str, ...]:
    """Return the words of one rank's command; ``unbuffered`` makes Python write at once, as torchrun does."""
    launcher = settings[Launcher]
    lower = ("nice", "-n", str(launcher.nice)) if launcher.nice else ()
    if launcher.no_python:
        return (*lower, *script)
    options = ("-u",) if unbuffered else ()
    module = ("-m",) if launcher.module else ()
    return (*lower, interpreter(settings, host), *options, *module, *script)
