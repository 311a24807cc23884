"""What differs by system has one place, and each system's file there has all of it."""

from __future__ import annotations

import ast
import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from accel_launch.ranks.system import calls, unix, windows
from tests.conftest import ROOT

PLACES = {
    ROOT / "packages/accel-config/src/accel_config/system",
    ROOT / "packages/accel-launch/src/accel_launch/ranks/system",  # which ranks load without accel-config
}


def asks(source: str) -> bool:
    """Whether a module asks for the system's name, or for what it has."""
    names = {"sys.platform", "os.name", "platform.system"}
    return any(word in source for word in (*names, "hasattr(os")) and any(
        (isinstance(node, ast.Attribute) and ast.unparse(node) in names)
        or (isinstance(node, ast.Call) and ast.unparse(node).startswith("hasattr(os, "))
        for node in ast.walk(ast.parse(source))
    )


def test_nobody_else_asks_which_system_it_is() -> None:
    files = {path for path in ROOT.glob("packages/*/src/**/*.py") if not PLACES & {*path.parents}}
    assert not [path.as_posix() for path in files if asks(path.read_text())]


@pytest.mark.parametrize(
    "source", ["x = sys.platform == 'linux'", "if os.name == 'nt': pass", "x = hasattr(os, 'fork')"]
)
def test_the_guard_sees_who_asks(source: str) -> None:
    assert asks(source)


def names(module: object) -> set[str]:
    return {name for name in vars(module) if name[0].islower() and not name.startswith("_")} - {
        "os",
        "sys",
        "annotations",
    }


@pytest.mark.skipif("TESTS_PLATFORM" in os.environ, reason="Linux's part is imported there alone")
def test_each_system_has_the_whole_interface() -> None:
    from accel_launch.ranks.system import linux

    assert names(linux) - {"facts_in"} == names(unix) == names(windows)
    sources = (path.read_text() for path in ROOT.glob("packages/accel-launch/src/**/*.py"))
    facts = {name for text in sources for name in re.findall(r"\bcalls\.([A-Z]\w+)", text)}
    assert {"READABLE", "ADOPTS", "TICK"} <= facts <= vars(linux).keys()
    assert facts <= vars(unix).keys() & vars(windows).keys()


HERE: Any = calls
"""Linux's, or in the imitation of macOS those of `unix`."""


def test_waiting_and_children() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(7)"], stdin=subprocess.PIPE
    )
    assert child.stdin is not None
    knows = hasattr(os, "waitid") and "TESTS_PLATFORM" not in os.environ  # macOS has it from Python 3.13 on
    assert HERE.has_children() == knows
    reader, writer = os.pipe()
    poller = HERE.waiting()
    poller.register(reader, HERE.READABLE)
    assert poller.poll(0) == []
    os.write(writer, b".")
    assert [fd for fd, _events in poller.poll(30)] == [reader]
    poller.unregister(reader)
    child.stdin.close()
    assert HERE.await_end(child.pid) == (7 if knows else None)
    assert child.wait() == 7  # it was left to collect
    for fd in (reader, writer):
        os.close(fd)
    fd = os.open(Path.cwd(), HERE.FOLDER)
    assert os.path.samestat(os.fstat(fd), Path.cwd().stat())
    os.close(fd)


def test_what_is_missing_is_missing_as_on_an_old_kernel() -> None:
    for call in (lambda: unix.peer(None), lambda: windows.memory_file("x"), lambda: windows.open_handle(1)):
        with pytest.raises(OSError, match="not implemented") as caught:
            call()
        assert caught.value.errno == errno.ENOSYS


def test_a_handle_is_of_one_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    handle = HERE.open_handle(child.pid)
    HERE.send_by(handle, 15)
    poller = HERE.waiting()
    poller.register(handle, HERE.READABLE)
    assert [fd for fd, _events in poller.poll(30)] == [handle]
    late = HERE.open_handle(child.pid)  # it has ended, and is still to be collected
    poller.register(late, HERE.READABLE)
    assert {fd for fd, _events in poller.poll(30)} == {handle, late}
    assert child.wait() == -15
    for each in (handle, late):
        with pytest.raises(ProcessLookupError):
            HERE.send_by(each, 15)
        os.close(each)
    with pytest.raises(ProcessLookupError):
        HERE.open_handle(child.pid)


def test_the_end_of_a_pipe_is_awaited_whatever_comes_before() -> None:
    """As of the pipe from the process that has called the launcher."""
    poller = HERE.waiting()
    reader, writer = os.pipe()
    poller.register(reader, HERE.HUNG_UP)
    os.write(writer, b"....")
    assert poller.poll(0.2) == []
    os.close(writer)
    assert [fd for fd, _events in poller.poll(30)] == [reader]
    os.close(reader)


def test_files_and_pipes_have_a_path_as_long_as_the_process_runs() -> None:
    file = HERE.memory_file("accel-record")
    reader, writer = HERE.pipe()
    ours, theirs = os.openpty()
    HERE.share(theirs)
    code = "import os, sys\nfor path in sys.argv[1:]:\n    os.write(os.open(path, os.O_WRONLY | os.O_NOCTTY), b'written')"
    paths = [f"{HERE.place()}/{fd}" for fd in (file, writer, theirs)]
    assert HERE.is_record(paths[0])
    subprocess.run([sys.executable, "-c", code, *paths], check=True, timeout=30)
    assert [os.pread(file, 9, 0), os.read(reader, 9), os.read(ours, 9)] == [b"written"] * 3
    folder = HERE.private()
    assert bool(folder) == (HERE is unix)
    assert not folder or Path(folder).stat().st_mode & 0o777 == 0o700
    HERE.clear()
    assert not (folder and Path(folder).exists())
    for fd in (file, reader, writer, ours, theirs):
        os.close(fd)
