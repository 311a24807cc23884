"""The parent of a rank where an engine carried the supervisor's address to another machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from accel_launch.engines.torchrun import RANK


def test_what_is_no_record_is_left_alone(tmp_path: Path) -> None:
    """There the address is that of another process's open files, or of none."""
    with (tmp_path / "somebody").open("w+") as file:
        number = file.fileno()
        environ = {**os.environ, "LOCAL_RANK": "0", "RANK": "3", "PMI_FD": "99"}
        for folder in (f"/proc/{os.getpid()}/fd", "/proc/4194305/fd"):
            environ["ACCEL_SUPERVISOR"] = f"{folder} {number} {number} {number} {number}"
            done = subprocess.run(
                [sys.executable, RANK, "sh", "-c", "echo out; exit 7"],
                env=environ,
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert (done.returncode, done.stdout) == (7, "out\n")
        assert file.read() == ""


def test_hydra_is_told_to_end_the_others() -> None:
    """In PMI's words, over the descriptor that it gave."""
    ours, its = os.pipe()
    environ = {**os.environ, "LOCAL_RANK": "0", "PMI_FD": str(its), "MPI_LOCALRANKID": "0"}
    for words, told in (("exit 7", "exitcode=7\n"), ("kill -9 $$", "exitcode=137\n")):
        subprocess.run([sys.executable, RANK, "sh", "-c", words], env=environ, pass_fds=[its], timeout=30)
        said = os.read(ours, 4096).decode()
        assert said == f"cmd=init pmi_version=1 pmi_subversion=1\ncmd=abort {told}"
    subprocess.run([sys.executable, RANK, "true"], env=environ, pass_fds=[its], timeout=30, check=True)
    os.close(its)
    assert os.read(ours, 4096) == b""
    os.close(ours)
