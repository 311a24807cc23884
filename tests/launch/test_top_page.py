"""The page of `accelerate top --web` in a real browser, and what its server refuses."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser import PHONE, Browser, browser
from tests.conftest import BIN
from tests.launch.processes import Script, Start
from tests.launch.test_runs import N2, up

__all__ = ["browser"]

TWO_ROWS = "document.querySelectorAll('#rows tr').length === 2"
LAST_LINE = "document.querySelector('#rows tr:last-child td:last-child').textContent"
TEXT = "document.getElementById('text').textContent"
MORE = "document.getElementById('more').getBoundingClientRect()"
NOTICE = "document.getElementById('notice').textContent"
EVIL = (
    "import os, sys, time\nrank, count = os.environ['RANK'], 0\n"
    "while not os.path.exists(sys.argv[1]):\n"
    "    print(f'<script>document.title = 1</script><img src=x onerror=alert(1)> \\x1b[1mbold\\x1b[0m \\x1b[2J at', rank, count, flush=True)\n"
    "    count += 1\n    time.sleep(0.2)\n"
    "sys.exit(3)\n"
)
EVIL_SHOWN = "<script>document.title = 1</script><img src=x onerror=alert(1)> bold \\x1b[2J at 1"


def served(environ: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    """Serve the page of the newest run; return the server and the address."""
    words = [BIN / "accelerate", "top", "--web"]
    popen = subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert popen.stdout is not None
    return popen, popen.stdout.readline().strip()


def ask(address: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Ask the server; return its status, its headers and the text."""
    client = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    client.request(method, path, headers=headers)
    answer = client.getresponse()
    text = answer.read().decode()
    client.close()
    return answer.status, dict(answer.getheaders()), text


@pytest.mark.exhaustive
def test_the_server_answers_only_who_has_the_token_and_calls_it_by_its_name(
    launched: Start, script: Script, environ: dict[str, str]
) -> None:
    run = up(launched, script, "--name", "one")
    server, address = served(environ)
    try:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#[\w-]{43}", address)
        host = urlsplit(address).netloc
        right = {"Authorization": f"Bearer {urlsplit(address).fragment}"}
        wrong = {"Authorization": f"Bearer {urlsplit(address).fragment[:-1]}"}
        status, headers, page = ask(address, "/")
        assert (status, headers["Cache-Control"], headers["Referrer-Policy"]) == (200, "no-store", "no-referrer")
        assert "Access-Control-Allow-Origin" not in headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'nonce-")
        assert "one" not in re.findall(r"\w+", re.sub(r"<script.*|<style.*?</style>", "", page, flags=re.DOTALL))
        assert not re.findall(r"(?:src|href)=\"(?!data:)|https?://|@import|url\(", page), (
            "something comes from elsewhere"
        )
        for path in ("/state", "/output?rank=0", "/stacks", "/nothing"):
            assert ask(address, path)[0] == ask(address, path, **wrong)[0] == 403
            assert ask(address, path, Host="evil.example:80", **right)[0] == 403
        assert ask(address, "/", Host="evil.example")[0] == 403
        assert ask(address, "/state", Host="localhost:9", **right)[0] == 200  # as through ssh -L
        assert json.loads(ask(address, "/state", **right)[2])["name"] == "one"
        assert "rank 1" in json.loads(ask(address, "/output?rank=1", **right)[2])
        assert ask(address, "/output?rank=2", **right)[0] == ask(address, "/x", **right)[0] == 404
        for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            assert ask(address, "/stop", "POST", **headers, **right)[0] == 403
        assert ask(address, "/stop", "POST", Origin=f"http://{host}", **wrong)[0] == 403
        assert ask(address, "/stop", **right)[0] == 404
        assert run.poll() is None
        assert ask(address, "/stop", "POST", Origin=f"http://{host}", **right)[0] == 200
        assert run.wait(20) == -signal.SIGTERM
        assert server.communicate(timeout=30) == ("one ended: terminated by SIGTERM\n", "")
        assert server.returncode == 0
    finally:
        server.kill()
        server.wait()


@pytest.mark.exhaustive
def test_the_page_goes_on_by_itself_and_what_ranks_print_stays_text(
    launched: Start, script: Script, environ: dict[str, str], tmp_path: Path, browser: Browser
) -> None:
    run = launched(*N2, "--name", "one", script(EVIL), tmp_path / "end")
    assert run.stdout is not None
    run.stdout.readline()
    server, address = served(environ)
    try:
        browser.open(address)
        browser.until(TWO_ROWS)
        assert browser.run("return [location.href, document.title];") == [address.partition("#")[0], "one running"]
        browser.run("window.same = true;")
        first = browser.run(f"return {LAST_LINE};")
        assert first.startswith(EVIL_SHOWN)
        browser.until(f"{LAST_LINE} !== {json.dumps(first)}")
        assert browser.run("return window.same;")
        browser.run("location.reload();")  # which keeps the token
        browser.until(f"!window.same && {TWO_ROWS}")
        browser.run("document.querySelector('#rows tr:last-child button').click();")
        lines = browser.until(TEXT).split("\n")
        # Where many ranks are above it, what a click opens comes into view, and goes again.
        browser.run("document.getElementById('close').click();")
        browser.run("document.querySelector('table').style.marginBottom = '5000px';")
        browser.run("document.querySelector('#rows tr:last-child button').click();")
        assert browser.run(f"return scrollY > 4000 && {MORE}.bottom <= innerHeight + 1 && {MORE}.top >= 0;")
        browser.run("document.getElementById('close').click();")
        assert browser.run("return [scrollY, document.getElementById('stop').getBoundingClientRect().top < 300];") == [
            0, True
        ]  # fmt: skip
        browser.run("document.querySelector('table').style.marginBottom = 0;")
        browser.run("document.querySelector('#rows tr:last-child button').click();")
        assert all(line.startswith(EVIL_SHOWN) for line in lines if "left out" not in line)
        assert browser.run("return document.querySelectorAll('img, #text *, td:last-child *').length;") == 0
        browser.until(f"!{TEXT}.endsWith({json.dumps(lines[-1])})")
        browser.run("document.getElementById('stacks').click();")
        browser.until(f"{TEXT}.includes(' of 2 ranks (')")
        for scheme, ground in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 24, 28)")):
            browser.prefer(scheme)
            assert browser.run("return getComputedStyle(document.body).backgroundColor;") == ground
        browser.resize(PHONE)
        assert browser.run("return innerWidth;") == PHONE
        assert not browser.overflows
        browser.run("document.getElementById('stop').click();")
        assert browser.run("return document.getElementById('sure').innerText;").startswith("Stop one?")
        browser.run("document.getElementById('no').click();")
        assert browser.run("return document.getElementById('sure').hidden;")
        (tmp_path / "end").touch()
        browser.until(f"{NOTICE} === 'one ended: exit status 3'")
        assert browser.run("return document.getElementById('stop').hidden;")
        assert run.wait(20) == 3
        assert server.communicate(timeout=30) == ("one ended: exit status 3\n", "")
        assert server.returncode == 0
    finally:
        server.kill()
        server.wait()


@pytest.mark.exhaustive
def test_the_page_says_what_is_gone_and_stops_the_run(
    launched: Start, script: Script, environ: dict[str, str], browser: Browser
) -> None:
    run = up(launched, script, "--name", "two")
    server, address = served(environ)
    try:
        browser.open("about:blank")
        browser.open(f"{address}x")
        browser.until(f'{NOTICE}.startsWith("This address isn\'t valid")')
        browser.open("about:blank")
        browser.open(address)
        browser.until(TWO_ROWS)
        server.send_signal(signal.SIGINT)
        assert server.communicate(timeout=30) == ("", "accel: the page is gone; two goes on\n")
        assert server.returncode == 0
        browser.until(f"{NOTICE}.startsWith('The connection is lost')")
        server, address = served(environ)
        browser.open(address)
        browser.until(TWO_ROWS)
        browser.run("document.getElementById('stop').click(); document.getElementById('yes').click();")
        assert run.wait(30) == -signal.SIGTERM
        assert browser.until(f"{NOTICE}.startsWith('two ended')")
        server.communicate(timeout=30)
    finally:
        server.kill()
        server.wait()
