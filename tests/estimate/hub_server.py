"""A Hub on loopback that speaks the real protocol, as far as reading models needs it.

Paths and headers are those that huggingface_hub 2.4 uses: `/api/models/ID[/revision/REV]`, `/ID/resolve/REV/FILE`,
`X-Error-Code`, `X-Repo-Commit`, `ETag`, ranges, and a redirect of weight files to a second server, as to a CDN.
"""

import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c0ffee" + "0" * 34


@dataclass
class File:
    """A file of `size` bytes of which only `front` is really there; zeros stand for the rest."""

    front: bytes
    size: int = -1

    def __post_init__(self) -> None:
        self.size = len(self.front) if self.size < 0 else self.size

    def part(self, start: int, stop: int) -> bytes:
        stop = min(stop, self.size)
        return self.front[start:stop] + b"\0" * max(0, stop - max(start, len(self.front)))


@dataclass
class Repo:
    """A repository and how the Hub treats those who ask for it."""

    files: dict[str, File] = field(default_factory=dict[str, File])
    library: str | None = None
    config: dict[str, Any] | None = None  # the content of config.json in the listing
    gated: bool = False
    private: bool = False
    disabled: bool = False


@dataclass
class Asked:
    """What somebody asked for, written down before the answer goes out, and the bytes of it that went out."""

    path: str
    sent: int = 0


@dataclass
class Hub:
    """The server: its repositories, its moods, and a log of what was asked."""

    repos: dict[str, Repo] = field(default_factory=dict[str, Repo])
    token: str = "hf_good"  # noqa: S105 - of this server alone
    latency: float = 0.0
    failures: int = 0  # so many answers are 503 before things work again
    fail_status: int = 503
    ignore_range: bool = False
    drip: float = 0.0  # seconds between bytes of a weight file
    endless: str = ""  # the answer to a path with this in it has headers without end
    cdn: bool = False
    message: str = "Access to this resource is disabled."
    circles: bool = False  # every answer sends its reader to where it came from
    log: list[Asked] = field(default_factory=list[Asked])
    lock: threading.Lock = field(default_factory=threading.Lock)
    connections: int = 0

    def start(self) -> "Hub":
        self._servers = [_serve(self, cdn=False), _serve(self, cdn=True)]
        self.endpoint, self.cdn_endpoint = (f"http://127.0.0.1:{s.server_address[1]}" for s in self._servers)
        return self

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(self, name: str, files: dict[str, bytes | File], **how: Any) -> Repo:
        self.repos[name] = Repo({n: f if isinstance(f, File) else File(f) for n, f in files.items()}, **how)
        return self.repos[name]

    def requests(self, text: str = "") -> list[Asked]:
        return [asked for asked in self.log if text in asked.path]

    def sent(self) -> int:
        return sum(asked.sent for asked in self.log)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is part of the tests."""


def _serve(hub: Hub, *, cdn: bool) -> _Server:
    class Handler(_Handler):
        the_hub, is_cdn = hub, cdn

    server = _Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    the_hub: Hub
    is_cdn: bool

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub = self.the_hub
        self._body = body
        time.sleep(hub.latency)
        with hub.lock:
            failing = hub.failures > 0
            hub.failures -= failing
        if failing:
            return self._send(hub.fail_status, b"busy")
        if hub.circles:
            return self._send(302, b"", {"Location": self.path})
        path, _, query = self.path.partition("?")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+|[^/]+)(?:/revision/([^/]+))?", path):
            return self._info(match[1], match[2] or "main", query)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            return self._tree(match[1])
        if match := re.fullmatch(r"/([^/]+/[^/]+|[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(match[1], match[2], match[3])
        if match := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            return self._content(hub.repos[match[1]].files[match[2]])
        return self._error(404, "", "Not Found")

    def _refused(self, name: str, *, files: bool) -> bool:
        hub, repo = self.the_hub, self.the_hub.repos.get(name)
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if given and given != hub.token:
            self._error(401, "", "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and not given):
            self._error(404 if given else 401, "RepoNotFound", "Repository not found")
        elif repo.disabled:
            self._error(403, "", hub.message)
        elif repo.gated and files:
            self._error(403 if given else 401, "GatedRepo", f"Access to model {name} is restricted.")
        else:
            return False
        return True

    def _info(self, name: str, revision: str, query: str) -> None:
        if self._refused(name, files=False):
            return None
        if revision not in ("main", COMMIT):
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        repo = self.the_hub.repos[name]
        sizes = "blobs=true" in query.lower()
        siblings = [{"rfilename": n, **({"size": f.size} if sizes else {})} for n, f in repo.files.items()]
        listing: dict[str, Any] = {
            "id": name,
            "sha": COMMIT,
            "siblings": siblings,
            "gated": repo.gated,
            "private": repo.private,
        }
        if repo.library:
            listing["library_name"] = repo.library
        if repo.config:
            listing["config"] = repo.config
        self._send(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})
        return None

    def _tree(self, name: str) -> None:
        if self._refused(name, files=False):
            return
        files = self.the_hub.repos[name].files.items()
        listing = [{"type": "file", "path": n, "size": f.size, "oid": f"{i:040}"} for i, (n, f) in enumerate(files)]
        self._send(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str, revision: str, file: str) -> None:
        if self._refused(name, files=True):
            return None
        if revision not in ("main", COMMIT):
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        found = self.the_hub.repos[name].files.get(file)
        if found is None:
            return self._error(404, "EntryNotFound", "Entry not found")
        if self.the_hub.cdn and file.endswith((".safetensors", ".gguf", ".bin")):
            where = {"Location": f"{self.the_hub.cdn_endpoint}/cdn/{name}/{file}", "X-Repo-Commit": COMMIT,
                     "X-Linked-Size": str(found.size), "X-Linked-Etag": f'"{name}-{file}"'}  # fmt: skip
            return self._send(302, b"", where)
        self._content(found)
        return None

    def _content(self, file: File) -> None:
        if self.is_cdn and self.headers.get("Authorization"):
            return self._error(400, "", "a token was sent to the CDN")
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{id(file)}"', "Accept-Ranges": "bytes"}
        if asked is None or self.the_hub.ignore_range:
            return self._send(200, file, headers)
        start, stop = int(asked[1]), min(int(asked[2] or file.size - 1) + 1, file.size)
        if start >= file.size:
            return self._send(416, b"", headers | {"Content-Range": f"bytes */{file.size}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
        return self._send(206, file.part(start, stop), headers)

    def _error(self, status: int, code: str, message: str) -> None:
        named = {"X-Error-Code": code} if code else {}
        self._send(status, json.dumps({"error": message}).encode(), {**named, "X-Error-Message": message})

    def _send(self, status: int, body: bytes | File, headers: dict[str, str] | None = None) -> None:
        size = body.size if isinstance(body, File) else len(body)
        asked = Asked(self.path)
        self.the_hub.log.append(asked)
        self.send_response(status)
        if self.the_hub.endless and self.the_hub.endless in self.path:
            self.flush_headers()
            while self.the_hub.endless:
                self.wfile.write(b"X")
                time.sleep(0.02)
        for key, value in {**(headers or {}), "Content-Length": str(size)}.items():
            self.send_header(key, value)
        self.end_headers()
        try:
            while self._body and asked.sent < size:
                step = 1 if self.the_hub.drip and status in (200, 206) and size > 2000 else 2**16
                start, stop = asked.sent, asked.sent + step
                piece = body.part(start, stop) if isinstance(body, File) else body[start:stop]
                asked.sent += len(piece)
                self.wfile.write(piece)
                if step == 1:
                    time.sleep(self.the_hub.drip)
        except OSError:
            self.close_connection = True
