"""The command of a rank: the script, module or program, with its own arguments unchanged."""

from __future__ import annotations

from os.path import expanduser

from accel_config.catalogue import Launcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.settings.resolved import Settings
    from accel_launch.machine.host import Host


def interpreter(settings: Settings, host: Host) -> str:
    """Return the ranks' interpreter: the one that --python names, else the launcher's own."""
    named = settings[Launcher].python
    return expanduser(named) if named else host.python


def argv(settings: Settings, host: Host, script: Sequence[str], *, unbuffered: bool = False) -> tuple[str, ...]:
    """Return the command of one rank; ``unbuffered`` makes Python write at once, as under torchrun."""
    launcher = settings[Launcher]
    lower = ("nice", "-n", str(launcher.nice)) if launcher.nice else ()
    if launcher.no_python:
        return (*lower, *script)
    options = ("-u",) if unbuffered else ()
    module = ("-m",) if launcher.module else ()
    editor: tuple[str, ...] = ()
    if launcher.debug_port is not None:
        from accel_launch.planning.checks import debugging

        editor = debugging.editor(launcher.debug_rank, launcher.debug_port)
    return (*lower, interpreter(settings, host), *options, *editor, *module, *script)
