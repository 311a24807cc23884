"""The signals that the launcher passes on to every rank, and those that Slurm itself sends to every process."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signal  # noqa: PLC0414  others take it from here
    from collections.abc import Mapping
else:  # `signal` wraps it in enums, whose import costs a tenth of a launch
    import _signal as signal


def here(*names: str) -> tuple[int, ...]:
    """Return those of the signals that this system has: Windows has few."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


ENDING = here("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
"""Those that end the run."""
ENDS = (*ENDING, *here("SIGUSR1", "SIGUSR2"))
"""Those that may be meant to end it: scripts save and exit at the last two."""
PASSED_ON = (*ENDS, *here("SIGCONT", "SIGTSTP", "SIGWINCH"))
OWN_STEPS = 0xFFFF_FFF0
"""Slurm numbers its own steps from here on, such as an interactive one (salloc's shell)."""


def started_step(environ: Mapping[str, str]) -> bool:
    """Return whether a user's srun started the step that this process runs in."""
    step = environ.get("SLURM_STEP_ID", "").strip()
    return step.isdecimal() and len(step) <= len(str(OWN_STEPS)) and int(step) < OWN_STEPS


def sent_to_all(environ: Mapping[str, str]) -> tuple[int, ...]:
    """Return the signals that Slurm sends to every process of the step, so that passing them on would double them."""
    return here("SIGUSR1", "SIGUSR2") if started_step(environ) else ()


def waker() -> int:
    """Return a descriptor that becomes readable when a signal that is handled has come; for the main thread alone.

    Python looks for signals before it calls the system. One that comes after that look, and before the call sleeps,
    would be handled only when the sleep ends.

    Raises:
        OSError: the system has no more descriptors.
    """
    woken, wakes = os.pipe()
    for fd in (woken, wakes):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    return woken
