"""The launcher's process where it becomes the one command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_command_has_the_folder_that_it_asks_for(tmp_path: Path) -> None:
    code = (
        "import sys; from accel_launch import Command, Plan; from accel_launch.process import become\n"
        "become(Plan('exec', (Command(('/bin/pwd',), {}, cwd=sys.argv[1]),), supervised=False))\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code, tmp_path], text=True, timeout=30) == f"{tmp_path}\n"
