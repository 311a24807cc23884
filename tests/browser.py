"""A real browser without a window, driven over WebDriver; Debian has it as chromium and chromium-driver."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server")
STARTED = re.compile(r"success\w* on port (\d+)")
PHONE = 360
"""Columns of pixels of a narrow phone."""


class Browser:
    """A browser with one page."""

    def __init__(self, folder: Path) -> None:
        """Start it, with its profile in a folder; without one on this machine the test is skipped."""
        driver, program = shutil.which("chromedriver"), shutil.which("chromium")
        if driver is None or program is None:
            pytest.skip("chromium and chromedriver aren't on this machine")
        self.popen = subprocess.Popen(
            [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        assert self.popen.stdout is not None
        options = {"binary": program, "args": [*FLAGS, f"--user-data-dir={folder}"]}
        asked = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        try:
            with self.popen.stdout:
                found = next(filter(None, map(STARTED.search, self.popen.stdout)))
            self.port, self.session = int(found[1]), ""
            self.session = "/" + self._ask("", asked)["sessionId"]
        except BaseException:
            self._end()
            raise

    def _ask(self, path: str, question: object = None, method: str = "POST") -> Any:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        body = None if question is None else json.dumps(question)
        client.request(method, f"/session{self.session}{path}", body)
        answer = client.getresponse()
        found = json.load(answer)["value"]
        client.close()
        assert answer.status == HTTPStatus.OK, found
        return found

    def open(self, address: str) -> None:
        """Open a page."""
        self._ask("/url", {"url": address})

    def run(self, text: str, *arguments: object) -> Any:
        """Return what a script in the page returns."""
        return self._ask("/execute/sync", {"script": text, "args": arguments})

    def until(self, text: str, within: float = 60.0) -> Any:
        """Wait until an expression of the page is true; return its value."""
        end = time.monotonic() + within
        while not (found := self.run(f"return {text};")):
            assert time.monotonic() < end, self.run("return document.body.innerText;")
            time.sleep(0.05)
        return found

    def send(self, command: str, **facts: object) -> Any:
        """Give a command to Chromium's own protocol."""
        return self._ask("/goog/cdp/execute", {"cmd": command, "params": facts})

    def resize(self, width: int, height: int = 800) -> None:
        """Give the page the size of a device."""
        facts = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width <= PHONE}
        self.send("Emulation.setDeviceMetricsOverride", **facts)

    def prefer(self, scheme: str) -> None:
        """Have the page shown ``light`` or ``dark``."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    @property
    def overflows(self) -> bool:
        """Whether the page scrolls sideways."""
        return self.run("const root = document.documentElement; return root.scrollWidth > root.clientWidth;")

    def close(self) -> None:
        """End it."""
        try:
            self._ask("", method="DELETE")
        finally:
            self._end()

    def _end(self) -> None:
        os.killpg(self.popen.pid, signal.SIGKILL)  # with the browser, if that is left
        self.popen.wait(10)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests of a file."""
    found = Browser(tmp_path_factory.mktemp("browser"))
    yield found
    found.close()
