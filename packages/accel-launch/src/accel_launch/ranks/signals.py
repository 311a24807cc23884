"""The signals that the launcher passes on to every rank."""

from __future__ import annotations

import signal

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Those that end the run."""
ENDS = (*ENDING, signal.SIGUSR1, signal.SIGUSR2)
"""Those that may be meant to end it: scripts save and exit at the last two."""
PASSED_ON = (*ENDS, signal.SIGCONT, signal.SIGTSTP, signal.SIGWINCH)
