"""Asking the launcher of a run."""

from __future__ import annotations

from accel_config.errors import AccelError
from accel_launch.machine import process_tree
from accel_launch.ranks.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_launch.running.onlookers.registry.folder import Folder

PATIENCE = 30.0  # seconds for a launcher to answer


def ask(folder: Folder, question: Mapping[str, Any], patience: float = PATIENCE) -> Mapping[str, Any]:
    """Return a launcher's answer; wait for it so many seconds.

    Raises:
        AccelError: it doesn't answer.
    """
    import json

    if process_tree.stopped(pid := folder.pid):
        raise AccelError(f"the launcher of {folder.name} is stopped; `kill -CONT {pid}` lets it go on")
    with _connected(folder) as connection, connection.makefile("rb") as answers:
        connection.settimeout(patience)
        try:
            connection.sendall(json.dumps(question).encode() + b"\n")
            answer: Mapping[str, Any] = json.loads(answers.readline())
        except (OSError, ValueError):
            raise AccelError(
                f"the launcher of {folder.name} (pid {folder.pid}) doesn't answer: it has ended, or is stopped"
            ) from None
    if "error" in answer:
        raise AccelError(f"the launcher of {folder.name} refuses: {answer['error']}")
    return answer


def _connected(folder: Folder) -> Any:
    import socket

    from accel_launch.running.onlookers.registry.folder import SOCKET

    connection = socket.socket(socket.AF_UNIX)
    try:
        calls.reach(folder.path, SOCKET, connection.connect)
    except OSError:
        connection.close()
        how = "answers nothing: it is about to end, or its ranks are on the machines of --hosts; ask there"
        raise AccelError(f"the launcher of {folder.name} {how if folder.pid else 'has ended'}") from None
    return connection
