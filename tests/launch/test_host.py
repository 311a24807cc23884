"""Questions to the real machine."""

from __future__ import annotations

import os
import sys

import pytest

from accel_launch.host import Machine


def test_what_a_program_says() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    assert Machine().says(sys.executable, "-c", code) == "out\nerr\n"
    assert Machine().says("/nowhere/mpirun", "--version") == ""


def test_the_version_of_a_distribution() -> None:
    assert Machine().version("pytest") == pytest.__version__
    assert Machine().version("no-such-distribution") is None


def test_whether_we_are_root() -> None:
    assert Machine().root() == (os.getuid() == 0)
