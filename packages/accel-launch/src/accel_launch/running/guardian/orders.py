"""The launcher's orders to the guardian: a byte each."""

from __future__ import annotations

import os

ASIDE, HOLD, RELEASE, OVER, STOP, KILL = 250, 251, 252, 253, 254, 255
"""Orders beside signal numbers: interrupt the rank under a debugger alone; leave the ranks as they are for a moment
if one fails, and no longer (the guardian also waits for that after a failure); let the grace be over; terminate the
ranks as after a failure; kill them at once."""
NOBODY = -1
"""The descriptor where no guardian is."""


class Orders:
    """The launcher's end of the pipe to the guardian of the attempt that runs."""

    def __init__(self) -> None:
        """Reach nobody yet."""
        self.fd = NOBODY

    def send(self, order: int) -> None:
        """Send an order; it is safe in a signal handler."""
        try:
            os.write(self.fd, bytes([order]))
        except OSError:
            pass  # the guardian is gone, which the end of its events will show

    def hang_up(self) -> None:
        """Close the pipe; a signal handler that runs meanwhile reaches nobody."""
        fd, self.fd = self.fd, NOBODY
        if fd != NOBODY:
            os.close(fd)
