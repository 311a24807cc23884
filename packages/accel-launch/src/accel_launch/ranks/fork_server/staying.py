"""The fork server as the parent of its ranks to their end, where nobody else can become it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def stay(server: Any, pids: list[int]) -> NoReturn:
    """Report how each rank ends, and end after the last one."""
    try:
        for pid in pids:
            try:
                os.setpgid(pid, pid)  # the rank does so too; whichever comes first
            except OSError:
                continue
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(nothing, fd)
        for fd in {nothing, server.gate, *(fd for one in server.ranks for fd in one["streams"])} - {-1, 0, 1, 2}:
            os.close(fd)
        server.report("stays", "")
        while True:
            pid, status = os.wait()
            server.report("ended", f"{pid} {status}")
    except OSError:  # no rank is left, or no guardian
        pass
    finally:
        os._exit(0)
