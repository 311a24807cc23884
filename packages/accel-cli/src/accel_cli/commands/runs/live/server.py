"""The page of `top --web`: served on loopback, to whoever has the token that its address ends with.

A browser keeps what stands behind ``#`` to itself. The page sends it in a header with each question, which no other
site's page can do: that would need our consent first, and there is none. The page itself holds nothing of a run.
"""

from __future__ import annotations

import hmac
import json
import secrets
import signal
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

from accel_cli.commands.runs.live import watch as watching
from accel_config import front
from accel_config.errors import FAILED, AccelError
from accel_config.showing import console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from accel_cli.commands.runs.live.watch import Watch

LOOPBACK = "127.0.0.1"
NAMES = frozenset((LOOPBACK, "localhost"))
"""By which a browser may call us, on any port: ssh -L may have another one. Other names may be a stranger's."""
LINGER = 3.0  # seconds in which pages learn that the run has ended
PATIENCE = 30.0  # seconds for a browser to ask
PAGE = Path(__file__).with_name("page.html")
POLICY = (
    "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Server(ThreadingHTTPServer):
    """Answers the page's questions about a run."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, watch: Watch, port: int) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        super().__init__((LOOPBACK, port), Handler)
        self.watch, self.token = watch, secrets.token_urlsafe(32)
        self.outputs: dict[int, watching.Output] = {}
        self.page = PAGE.read_text(encoding="utf-8")

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/#{self.token}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Leave it: the browser has gone."""

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        """Return what a question asks for; None if it isn't one."""
        if path == "/state":
            return self.watch.sheet.as_json()
        if path == "/stacks":
            return watching.stacks(self.watch.run)
        if path == "/output":
            rank = query.get("rank", [""])[0]
            if rank not in {str(row.rank) for row in self.watch.sheet.rows}:
                return None
            output = self.outputs.setdefault(int(rank), watching.Output(self.watch.run, int(rank)))
            output.read()
            return output.shown
        return None


class Handler(BaseHTTPRequestHandler):
    """One request."""

    timeout = PATIENCE

    @property
    def own(self) -> Server:
        """The server."""
        return cast("Server", self.server)

    def version_string(self) -> str:
        """Return nothing that a scanner could use."""
        return "accel"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer with the page, or what it asks for."""
        path = urlsplit(self.path)
        if not self._is_called_right():
            self._refuse(HTTPStatus.FORBIDDEN)
        elif path.path == "/":
            nonce = secrets.token_urlsafe(16)
            policy = {"Content-Security-Policy": POLICY.format(nonce)}
            self._send(HTTPStatus.OK, "text/html", self.own.page.replace("{nonce}", nonce), policy)
        elif not self._has_token():
            self._refuse(HTTPStatus.FORBIDDEN)
        elif (found := self.own.answer(path.path, parse_qs(path.query))) is None:
            self._refuse(HTTPStatus.NOT_FOUND)
        else:
            self._send(HTTPStatus.OK, "application/json", json.dumps(found))

    def do_POST(self) -> None:
        """Stop the run."""
        from_page = self.headers.get("Origin") == f"http://{self.headers.get('Host')}"
        if not (self._is_called_right() and from_page and self._has_token()):
            self._refuse(HTTPStatus.FORBIDDEN)
        elif self.path != "/stop":
            self._refuse(HTTPStatus.NOT_FOUND)
        else:
            said = watching.stop(self.own.watch.run)
            self._send(HTTPStatus.OK, "application/json", json.dumps(said or "the run was asked to stop"))

    def _is_called_right(self) -> bool:
        """Return whether a browser was told our own name: another one's page may have been led here."""
        return self.headers.get("Host", "").rpartition(":")[0] in NAMES

    def _has_token(self) -> bool:
        found = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(found.encode(errors="replace"), self.own.token.encode())

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(status, "text/plain", f"{status.phrase}\n")

    def _send(self, status: HTTPStatus, kind: str, text: str, more: dict[str, str] | None = None) -> None:
        data = text.encode(errors="replace")
        self.send_response(status)
        headers = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(data)), **HEADERS}
        for name, value in {**headers, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def serve(watch: Watch, port: int) -> int:
    """Serve the page until the run has ended, or Ctrl-C; return the exit status.

    Raises:
        AccelError: the port can't be had.
    """
    try:
        server = Server(watch, port)
    except OSError as error:
        raise AccelError(f"--port {port}: {error.strerror}", status=FAILED) from None
    over = threading.Event()
    watch.look()
    watch.start(lambda: over.set() if watch.sheet.ended else None)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        try:
            console.show(f"{server.address}\n")
            over.wait()
            console.show(f"{watch.sheet.ended}\n")
            time.sleep(LINGER)
        except KeyboardInterrupt:
            if not watch.sheet.ended:
                front.say(f"accel: the page is gone; {watch.run.name} goes on\n")
        finally:
            server.shutdown()
    return 0
