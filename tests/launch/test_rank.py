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


def test_a_rank_that_nobody_numbered_is_not_taken_for_rank_0() -> None:
    record, stream = os.memfd_create("accel-record"), os.memfd_create("stream")
    told = f"/proc/{os.getpid()}/fd {record} {stream} {stream} {stream}"
    environ = {name: text for name, text in os.environ.items() if name != "RANK"}
    words = [sys.executable, RANK, "echo", "out"]
    for numbered, shown in (({}, "out\n"), ({"RANK": "0"}, "")):
        environ.update({"ACCEL_SUPERVISOR": told, **numbered})
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout == shown
        assert os.pread(record, 4096, 0).decode().startswith("started 0 0 ") == bool(numbered)
        assert os.pread(stream, 4096, 0).decode() == ("out\n" if numbered else "")
    os.close(record)
    os.close(stream)


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
