"""An editor as debugpy sees it: the Debug Adapter Protocol over a socket."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any


class Editor:
    """Somebody who attaches to a rank, and stops at a line."""

    def __init__(self, port: int, script: Path, line: int, within: float = 60.0) -> None:
        """Wait until the rank listens, attach, and let it go on to the line."""
        end = time.monotonic() + within
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), within)
            except OSError:
                assert time.monotonic() < end, f"nothing listens on {port}"
                time.sleep(0.05)
            else:
                break
        self.file = self.socket.makefile("rb")
        self.number = 0
        self.ask("initialize", adapterID="test", pathFormat="path")
        self._send("attach", name="test")  # whose answer comes after the configuration
        self.event("initialized")
        self.ask("setBreakpoints", source={"path": str(script)}, breakpoints=[{"line": line}])
        self.ask("configurationDone")

    def _send(self, command: str, **arguments: object) -> int:
        self.number += 1
        words = {"seq": self.number, "type": "request", "command": command, "arguments": arguments}
        data = json.dumps(words).encode()
        self.socket.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
        return self.number

    def _read(self) -> dict[str, Any]:
        length = 0
        while line := self.file.readline().strip():
            length = int(line.partition(b":")[2])
        return json.loads(self.file.read(length))

    def ask(self, command: str, **arguments: object) -> Any:
        """Send a request and return its answer."""
        number = self._send(command, **arguments)
        while (message := self._read()).get("request_seq") != number:
            pass
        assert message["success"], message
        return message.get("body")

    def event(self, name: str) -> Any:
        """Wait for an event."""
        while (message := self._read()).get("event") != name:
            pass
        return message.get("body")

    def stopped(self) -> int:
        """Wait until the rank stops, and return its thread."""
        return self.event("stopped")["threadId"]

    def evaluate(self, thread: int, text: str) -> str:
        """Return what an expression is worth where the thread stands."""
        frame = self.ask("stackTrace", threadId=thread)["stackFrames"][0]["id"]
        return self.ask("evaluate", expression=text, frameId=frame)["result"]

    def go_on(self, thread: int) -> None:
        """Let the rank run to its end."""
        self.ask("continue", threadId=thread)
        self.event("terminated")
        self.file.close()  # debugpy's adapter ends when both are
        self.socket.close()
