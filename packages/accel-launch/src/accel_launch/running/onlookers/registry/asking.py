"""Asking the launcher of a run."""

from __future__ import annotations

import time

from accel_config.errors import AccelError
from accel_launch.machine import process_tree
from accel_launch.ranks.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_launch.running.onlookers.registry.folder import Folder

PATIENCE = 30.0  # seconds for a launcher to answer
AGAIN = 0.05  # seconds until another try to ask one that lets nobody else wait


def ask(folder: Folder, question: Mapping[str, Any], patience: float = PATIENCE) -> Mapping[str, Any]:
    """Return a launcher's answer; wait for it so many seconds.

    Raises:
        AccelError: it doesn't answer.
    """
    import json

    if process_tree.stopped(folder.pid):
        raise _stopped(folder)
    until = time.monotonic() + patience
    try:
        with _connected(folder, until) as connection, connection.makefile("rb") as answers:
            connection.settimeout(max(until - time.monotonic(), AGAIN))
            connection.sendall(json.dumps(question).encode() + b"\n")
            answer: Mapping[str, Any] = json.loads(answers.readline())
    except TimeoutError:
        raise _silent(
            folder, f"within {patience:g} s: it answers others, or this machine has too much to do"
        ) from None
    except (OSError, ValueError):
        raise _silent(folder, "any more: it is about to end, or begins another attempt") from None
    if "error" in answer:
        raise AccelError(f"the launcher of {folder.name} refuses: {answer['error']}")
    return answer


def _connected(folder: Folder, until: float) -> Any:
    """Return a connection with a launcher.

    Raises:
        AccelError: nobody listens.
        TimeoutError: too many others wait until then.
    """
    import socket

    from accel_launch.running.onlookers.registry.folder import SOCKET

    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(AGAIN)  # without a limit a full queue would be waited for, however long
    while True:
        try:
            calls.reach(folder.path, SOCKET, connection.connect)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(AGAIN)
                continue
            connection.close()
            raise TimeoutError from None
        except OSError:
            connection.close()
            how = "answers nothing: it is about to end, or its ranks are on the machines of --hosts; ask there"
            raise AccelError(f"the launcher of {folder.name} {how if folder.pid else 'has ended'}") from None
        return connection


def _stopped(folder: Folder) -> AccelError:
    return AccelError(f"the launcher of {folder.name} is stopped; `kill -CONT {folder.pid}` lets it go on")


def _silent(folder: Folder, how: str) -> AccelError:
    """Return why a launcher doesn't answer: it may have ended, or been stopped, since it was looked at."""
    pid = folder.pid
    if not pid:
        return AccelError(f"the launcher of {folder.name} has ended")
    if process_tree.stopped(pid):
        return _stopped(folder)
    return AccelError(f"the launcher of {folder.name} (pid {pid}) doesn't answer {how}")
