"""The command at the remote end of a relay, as the marked lines of its standard error report it."""

from __future__ import annotations

import json
import shlex

from accel_config.settings.readers import natural
from accel_launch.running.output.markers import Markers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Remote:
    """The remote command: whether it has begun, its process group, its exit status, the message about it."""

    def __init__(self, mark: bytes, argv: Sequence[str], message_file: str) -> None:
        """Take the mark of lines for the relay, gcloud's command line, and the file for the launcher's table."""
        self.argv, self.message_file = argv, message_file
        self.begun = False
        """Whether the relay has let the command begin."""
        self.lost = False
        """Whether the connection to the command was lost, though gcloud still runs."""
        self.group = ""
        self.status: int | None = None
        """The command's exit status, once it has ended."""
        self.chatter = bytearray()
        """The output of gcloud and ssh themselves on the current connection."""
        self._markers = Markers(mark)

    def connect(self) -> None:
        """Forget what the connection before has left."""
        self.chatter = bytearray()
        self._markers.rest()

    def passed(self, data: bytes, *, refuse: bool) -> bytes:
        """Return the command's part of ``data`` and act on the lines for the relay; ``refuse`` lets it not begin."""
        passed = b""
        for part in self._markers.split(data):
            if isinstance(part, bytes):
                passed += self._output(part)
            else:
                self._receive(part.split(), refuse=refuse)
        return passed

    def rest(self) -> bytes:
        """Return the command's part of what remains when its standard error ends."""
        return self._output(self._markers.rest())

    def _output(self, data: bytes) -> bytes:
        """Return the command's output; before and after the command, keep the output of gcloud for a message."""
        if self.begun and self.group and self.status is None:
            return data
        self.chatter += data
        return b""

    def _receive(self, words: list[str], *, refuse: bool) -> None:
        match words:
            case ["ready"] if self.begun:
                self.lost = True  # gcloud has reconnected by itself: the command must not begin a second time
            case ["ready"] if not refuse:
                self.begun = True
            case ["started", group, *host]:
                self.group = group
                where = host[0] if host else "the worker"  # it may have no `hostname`
                self.report(f"no report of its end; it may still run on {where}; to end it: {self._kill_command()}")
            case ["ended", status]:
                self.status = 1 if (number := natural(status)) is None else number
                self.report("")
            case _:
                pass

    def report(self, message: str) -> None:
        """Write the message for the table of workers; it remains if the relay is killed at the next instant."""
        if self.message_file:
            with open(self.message_file, "w", encoding="utf-8") as file:  # noqa: PTH123  a descriptor's path
                file.write(json.dumps({"message": message}) if message else "")

    def _kill_command(self) -> str:
        """Return the command line that terminates the remote command."""
        words = list(self.argv)
        place = words.index("--command") + 1
        sudo = "sudo " if words[place].startswith("exec sudo ") else ""
        words[place] = f"{sudo}kill -TERM -- -{self.group}"
        return shlex.join(words)
