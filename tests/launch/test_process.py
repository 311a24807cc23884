"""The launcher's process where it becomes the one command."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path


def test_a_command_has_the_folder_that_it_asks_for(tmp_path: Path) -> None:
    code = (
        "import sys; from accel_launch import Command, Plan; from accel_launch.running.process import become\n"
        "become(Plan('exec', (Command(('/bin/pwd',), {}, cwd=sys.argv[1]),), supervised=False))\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code, tmp_path], text=True, timeout=30) == f"{tmp_path}\n"


def test_an_interrupt_before_the_run_is_our_death() -> None:
    code = (
        "import os\nfrom accel_launch import cli\n"
        "class Importing:\n"
        "    def __del__(self): os.kill(os.getpid(), 2); [None for _ in range(9)]\n"  # Python drops what it raises
        "cli._carry_out = lambda *_: Importing() and 0\n"
        "raise SystemExit(cli.main(['train.py']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
