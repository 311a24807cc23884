"""A hundred seeded failures: those that would happen again stop after one repeat, and those that pass are survived."""

from __future__ import annotations

import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, NamedTuple

import pytest

from tests.conftest import BIN

Launch = Callable[[Path, int], tuple[int, str]]
"""Launches a script with so many restarts at most; returns the status, and what was said."""
AT_ONCE = 4  # runs; most of the time they wait
FEW, MANY = 3, 6  # restarts: of failures that repeat, and of those that pass
BEGIN = """\
import ctypes, errno, json, os, random, signal, socket, sys, tempfile, time, urllib.request
here = os.path.dirname(os.path.abspath(__file__))
if os.environ["RANK"] != "{rank}":
    time.sleep(60)
with open(here + "/tries", "a") as file:
    file.write("x")
tries = os.path.getsize(here + "/tries")
"""
# What fails in each attempt: the status, and how often it may be started.
REPEATED: tuple[tuple[str, int, int], ...] = (
    ("raise ValueError(f'bad {time.time()} {object()} {tempfile.mkdtemp()}')", 1, 2),
    ("raise RuntimeError(f'shape {random.random():e} at 10.0.{tries}.7:{random.randrange(65536)}')", 1, 2),
    ("{}[str(tries)]", 1, 2),
    ("assert tries < 0, f'after {time.monotonic()} s'", 1, 2),
    ("1 / 0", 1, 2),
    ("def f(): f()\nf()", 1, 2),
    ("raise ValueError('timeout must be positive: Connection refused, HTTP Error 503')", 1, 2),
    ("try:\n    {}['x']\nexcept KeyError as error:\n    raise RuntimeError(f'run {tries}') from error", 1, 2),
    ("json.loads('{')", 1, 2),
    ("b'\\xff'.decode()", 1, 2),
    ("raise MemoryError", 1, 2),
    ("os.mkdir(here)", 1, 2),
    ("for step in range(100):\n    print('step', step, flush=True)\n{}['x']", 1, 2),
    ("print({'loss': random.random(), 'epoch': 1.5}, flush=True)\n{}['x']", 1, 2),
    ("sys.stderr.write(f'\\r 12%|#  | {random.randrange(118, 123)}/1000 [0:12<1:28, 9.9it/s]\\n')\n{}['x']", 1, 2),
    ("open(here + '/progress', 'w').write('7')\n{}['x']", 1, 2),
    ("(print, time.sleep, 1 / 0) if tries % 2 else [][3]", 1, 3),  # by turns
    ("sys.exit(3)", 3, 2),
    ("sys.exit(f'stopped after {time.time()} s')", 1, 2),
    ("os._exit(7)", 7, 2),
    ("ctypes.string_at(0)", 139, 2),
    ("os.abort()", 134, 2),
    ("os.kill(os.getpid(), signal.SIGKILL)", 137, 2),
    ("open(here + '/data.bin')", 1, 2),
    ("import no_such_module", 1, 1),
    ("from json import no_such_name", 1, 1),
    ("compile('a b', 'part.py', 'exec')", 1, 1),
    ("sys.exit(2)", 2, 1),
    ("import argparse\nargparse.ArgumentParser().parse_args(['--wrong'])", 2, 1),
    ("sys.exit(126)", 126, 1),
    ("os.execlp('sh', 'sh', '-c', 'no-such-program')", 127, 1),
    ("class OutOfMemoryError(RuntimeError): ...\nraise OutOfMemoryError('CUDA out of memory. Tried 2 GiB')", 1, 1),
    ("sys.exit(75)", 75, 1),
)
# What fails for some attempts or some seconds. {port} is one that is taken, or not yet listened at, for so long.
PASSING: tuple[str, ...] = (
    "socket.create_server(('127.0.0.1', {taken}))",
    "socket.create_connection(('127.0.0.1', {later})).recv(1)",
    "open(here + '/later.bin')",
    "if tries <= {times}: raise OSError(errno.EIO, os.strerror(errno.EIO))",
    "if tries <= {times}: raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))",
    "if tries <= {times}: raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))",
    "if tries <= {times}: raise RuntimeError('The server socket has failed to listen. name: EADDRINUSE')",
    "if tries <= {times}: raise ConnectionResetError(errno.ECONNRESET, 'Connection reset by peer')",
    "if tries <= {times}: socket.getaddrinfo('no-such-host.invalid', 80)",
    "if tries <= {times}: sys.exit('mount.nfs: Connection timed out')",
    "urllib.request.urlopen('http://127.0.0.1:{http}/{times}/503')",
    "urllib.request.urlopen('http://127.0.0.1:{http}/{times}/429')",
    "urllib.request.urlopen('http://127.0.0.1:{http}/{times}/slow', timeout=0.3)",
    # Those that come further each time.
    "print('step', tries * 100, flush=True)\nif tries <= {times}: {}['x']",
    "print({'loss': 0.5, 'epoch': tries / 3}, flush=True)\nif tries <= {times}: {}['x']",
    "sys.stderr.write(f'\\r  1%|#  | {tries * 50}/9999 [0:12<1:28, 9.9it/s]\\n')\nif tries <= {times}: os.abort()",
    "open(here + '/progress', 'w').write(str(tries))\nif tries <= {times}: sys.exit(3)",
    # And those that are something else each time.
    "if tries == 1: os.kill(os.getpid(), signal.SIGKILL)",
    "if tries == 1: {}['x']\nif tries == 2: [][1]\nif tries == 3: os.abort()",
    "if tries == 1: ctypes.string_at(0)",
)


class Case(NamedTuple):
    folder: Path
    source: str
    status: int
    tries: int
    """The most; 0 for a failure that passes."""

    def prepare(self) -> Path:
        self.folder.mkdir()
        path = self.folder / "run.py"
        path.write_text(self.source)
        return path

    def verify(self, status: int, said: str) -> str:
        """Return what is wrong."""
        tries = len((self.folder / "tries").read_text())
        right = status == self.status and (tries <= self.tries if self.tries else tries <= MANY + 1)
        return "" if right else f"{self.source.splitlines()[7:]}: status {status}, {tries} tries\n{said}"


class Answering(BaseHTTPRequestHandler):
    """Fails for as many requests as the path has it; /TIMES/WAY, counted for each client's whole path."""

    asked: ClassVar[dict[str, int]] = {}

    def do_GET(self) -> None:
        path = self.path
        _, times, way = path.split("/")
        self.asked[path] = self.asked.get(path, 0) + 1
        failing = self.asked[path] <= int(times.partition("-")[0])
        if failing and way == "slow":
            time.sleep(1)
        self.send_response(int(way) if failing and way != "slow" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *_args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def run(environ: dict[str, str]) -> Launch:
    def launched(path: Path, most: int) -> tuple[int, str]:
        flags = ("--cpu", "--num_processes", "2", "--grace", "1", "--max_restarts", str(most))
        done = subprocess.run(
            [BIN / "accelerate", "launch", *flags, path],
            env={**environ, "ACCELERATE_PROGRESS_FILE": str(path.with_name("progress"))},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        return (128 - done.returncode if done.returncode < 0 else done.returncode), done.stderr

    return launched


@contextmanager
def surroundings(case_folder: Path, hold: float, http: int) -> Generator[dict[str, int]]:
    """A port that is taken for some time, one that is listened at later, and a file that appears later."""
    taken, later = (socket.create_server(("127.0.0.1", 0), backlog=1) for _ in range(2))
    ports = {"taken": taken.getsockname()[1], "later": later.getsockname()[1], "http": http}
    later.close()
    listening: list[socket.socket] = []

    def change() -> None:
        taken.close()
        server = socket.create_server(("127.0.0.1", ports["later"]))
        listening.append(server)
        (case_folder / "later.bin").touch()
        while True:
            try:
                server.accept()[0].close()
            except OSError:
                return

    timer = threading.Timer(hold, change)
    timer.daemon = True
    timer.start()
    yield ports
    timer.cancel()
    taken.close()
    for server in listening:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
    timer.join()


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_a_hundred_failures(tmp_path: Path, run: Launch) -> None:
    chance = random.Random(22)

    def repeated(number: int) -> str:
        body, status, tries = REPEATED[number % len(REPEATED)]
        begin = BEGIN.replace("{rank}", str(number // len(REPEATED)))
        case = Case(tmp_path / f"repeated-{number}", begin + body + "\n", status, tries)
        return case.verify(*run(case.prepare(), FEW))

    def passing(number: int, hold: float, times: int) -> str:
        body = PASSING[number % len(PASSING)]
        folder = tmp_path / f"passing-{number}"
        with surroundings(folder, hold, server.server_address[1]) as ports:
            for name, port in ports.items():
                body = body.replace(f"{{{name}}}", str(port))
            body = body.replace("/{times}/", f"/{times}-{number}/").replace("{times}", str(times))
            # The other rank may end before.
            source = BEGIN.replace("{rank}", "0").replace("time.sleep(60)", "sys.exit()")
            case = Case(folder, source + body + "\n", 0, 0)
            return case.verify(*run(case.prepare(), MANY))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(repeated, number) for number in range(50)]
        waiting += [
            pool.submit(passing, number, chance.uniform(1, 6), chance.randrange(1, 4)) for number in range(50)
        ]
        wrong = [one.result() for one in waiting]
    server.shutdown()
    server.server_close()
    assert len(wrong) == 100
    assert [text for text in wrong if text] == []
