"""Make the README's picture, docs/launch.svg, from a real run.

    uv run python benchmarks/picture.py

A launch that trains and one whose rank 1 fails are run on a terminal, and what they print is drawn.
"""

import io
import os
import pty
import re
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "launch.svg"
WIDTH = 104
COMMANDS = (
    "accelerate launch --cpu --num_processes 2 examples/train_digits.py --epochs 5",
    "accelerate launch --cpu --num_processes 3 broken.py",
)
HOME = "/home/me"
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # which a reader's machine would fetch from elsewhere


def main() -> None:
    """Run, draw, write."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("examples").symlink_to(ROOT / "examples")
        shutil.copy(ROOT / "tests" / "docs" / "stage" / "broken.py", folder)
        os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        os.environ["HF_HOME"] = folder
        shown = [(command, on_terminal(command).replace(folder, HOME)) for command in COMMANDS]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for command, printed in shown:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        console.print(Text.from_ansi(printed))
    drawn = console.export_svg(title="accelerate launch", unique_id="accel")
    PICTURE.write_text(FONTS.sub("", drawn) + "\n")


def on_terminal(command: str) -> str:
    """Run a command on a terminal; return what it printed."""
    printed = bytearray()

    def read(terminal: int) -> bytes:
        data = os.read(terminal, 65536)
        printed.extend(data)
        return data

    pty.spawn(["sh", "-c", f"stty cols {WIDTH}; exec {command}"], read)
    return printed.decode().replace("\r\n", "\n")


if __name__ == "__main__":
    main()
