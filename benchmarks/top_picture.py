"""Make the pictures of docs/runs.md from a real run: `top` on terminals of two sizes, and its page on a phone.

    uv run python -m benchmarks.top_picture

A browser is needed: Debian's chromium and chromium-driver.
"""

import base64
import io
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.browser import PHONE, Browser
from tests.conftest import BIN, ROOT
from tests.launch.screens import HOME, Screen

DOCS = ROOT / "docs"
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # which a reader's machine would fetch from elsewhere
RUN = ("--cpu", "--num_processes", "4", "--name", "brave-otter", "train.py")
TRAIN = """\
# Fits a line to points; each rank has its own.
import os, random

rank = int(os.environ["RANK"])
random.seed(rank)
points = [(x / 1000, 3 * x / 1000 + 1 + random.gauss(0, 0.1)) for x in range(1000)]
slope = offset = 0.0
for step in range(1_000_000):
    errors = [slope * x + offset - y for x, y in points]
    slope -= 0.01 * sum(error * x for error, (x, _y) in zip(errors, points)) / len(points)
    offset -= 0.01 * sum(errors) / len(points)
    if step % 40 == 0:
        loss = sum(error * error for error in errors) / len(points)
        print(f"rank {rank} step {step:6d} loss {loss:.4f}", flush=True)
"""
SETTLED = 6.0  # seconds until the figures are those of the training
HEIGHT = 760


def main() -> None:
    """Run, look, draw."""
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "XDG_STATE_HOME": f"{folder}/state", "HF_HOME": folder}
        Path(folder, "train.py").write_text(TRAIN)
        os.chdir(folder)
        words = [BIN / "accelerate", "launch", "--detach", *RUN]
        subprocess.run([*map(str, words)], env=environ, check=True, stdout=subprocess.DEVNULL)
        try:
            time.sleep(SETTLED)
            on_terminal(environ, (80, 24), "", "top.svg")
            on_terminal(environ, (120, 40), "1f", "top-output.svg")
            as_page(environ, Path(folder))
        finally:
            subprocess.run([BIN / "accelerate", "stop", "--now"], env=environ, stdout=subprocess.DEVNULL, check=False)


def on_terminal(environ: dict[str, str], size: tuple[int, int], keys: str, name: str) -> None:
    """Draw a screen of a terminal."""
    top = Screen((BIN / "accelerate", "top"), environ, *size)
    try:
        top.has("OUTPUT")
        top.press(keys)
        end = time.monotonic() + 4
        top.until(lambda _lines: time.monotonic() > end)
        shown = top.seen.rpartition(HOME)[2].replace("\x1b[2K", "").replace("\r", "")
    finally:
        top.close()
    console = Console(record=True, width=size[0], file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown), no_wrap=True)
    drawn = console.export_svg(title="accelerate top", unique_id=name.partition(".")[0])
    (DOCS / name).write_text(FONTS.sub("", drawn) + "\n")


def as_page(environ: dict[str, str], folder: Path) -> None:
    """Draw the page as a phone shows it."""
    words = [BIN / "accelerate", "top", "--web"]
    with subprocess.Popen([*map(str, words)], env=environ, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        browser = Browser(folder / "profile")
        try:
            browser.resize(PHONE, HEIGHT)
            browser.open(server.stdout.readline().strip())
            browser.until("document.querySelectorAll('#rows tr').length === 4")
            browser.run("document.querySelectorAll('#rows button')[1].click();")
            browser.until("document.getElementById('text').textContent")
            time.sleep(2)
            browser.run("scrollTo(0, 0);")
            picture = browser.send("Page.captureScreenshot", format="png")["data"]
            (DOCS / "top-page.png").write_bytes(base64.b64decode(picture))
        finally:
            browser.close()
            server.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
