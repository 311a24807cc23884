"""What differs by system has one place, and each system's file there has all of it."""

from __future__ import annotations

import ast
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from accel_launch.ranks.system import linux, unix, windows
from tests.conftest import ROOT

PLACE = ROOT / "packages/accel-launch/src/accel_launch/ranks/system"
ASKING = {
    # accel-config and what is beside accel-launch can't import it, or do without it for one question.
    "accel_config/checking/private.py": "whose home it is",
    "accel_config/showing/console.py": "a pager is started by posix_spawn",
    "accel_config/writing/storage.py": "folders can be locked and synced, and files have an owner",
    "accel_sagemaker/building/private.py": "whose home it is",
    "accel_cli/commands/env.py": "how large the memory is",
    "accel_cli/commands/merge.py": "SIGHUP",
    "accel_cli/trial/world.py": "which stores torch has there",
    # Asked before anything of the launcher's is imported for it, which would make each start slower.
    "accel_launch/machine/files.py": "uname",
    "accel_launch/machine/probe.py": "geteuid, and interfaces by Linux's ioctl",
    # Linux's ioctl as well, and a system call by its number.
    "accel_launch/ranks/parent.py": "interfaces",
    "accel_launch/inspecting/rights.py": "ptrace",
    # What is planned differs: a Mac's device is its GPU.
    "accel_launch/planning/checks/on_cpu.py": "MPS",
}
"""Files outside that ask which system it is, and what for. The list may only shrink."""


def asks(source: str) -> bool:
    """Whether a module asks for the system's name."""
    return any(word in source for word in ("sys.platform", "os.name", "platform.system")) and any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("sys", "platform"), ("os", "name"), ("platform", "system")}
        for node in ast.walk(ast.parse(source))
    )


def test_nobody_else_asks_which_system_it_is() -> None:
    files = {path for path in ROOT.glob("packages/*/src/**/*.py") if PLACE not in path.parents}
    found = {
        path.relative_to(next(one for one in path.parents if one.name == "src")).as_posix()
        for path in files
        if asks(path.read_text())
    }
    assert found == ASKING.keys()


@pytest.mark.parametrize("source", ["import sys\nx = sys.platform == 'linux'", "import os\nif os.name == 'nt': pass"])
def test_the_guard_sees_who_asks(source: str) -> None:
    assert asks(source)


def names(module: object) -> set[str]:
    return {name for name in vars(module) if name[0].islower() and not name.startswith("_")} - {
        "os",
        "sys",
        "annotations",
    }


def test_each_system_has_the_whole_interface() -> None:
    assert names(linux) == names(unix) == names(windows)
    assert {"READABLE", "HUNG_UP", "FOLDER", "ABSTRACT", "ADOPTS"} <= vars(linux).keys() & vars(unix).keys() & vars(
        windows
    ).keys()


@pytest.mark.parametrize("calls", [linux, unix], ids=["linux", "unix"])
def test_waiting_and_children(calls: Any) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(7)"], stdin=subprocess.PIPE
    )
    assert child.stdin is not None
    assert calls.has_children()
    reader, writer = os.pipe()
    poller = calls.waiting()
    poller.register(reader, calls.READABLE)
    assert poller.poll(0) == []
    os.write(writer, b".")
    assert [fd for fd, _events in poller.poll(30)] == [reader]
    poller.unregister(reader)
    child.stdin.close()
    assert calls.await_end(child.pid) == 7
    assert child.wait() == 7  # it was left to collect
    for fd in (reader, writer):
        os.close(fd)
    fd = os.open(Path.cwd(), calls.FOLDER)
    assert os.path.samestat(os.fstat(fd), Path.cwd().stat())
    os.close(fd)


def test_what_is_missing_is_missing_as_on_an_old_kernel() -> None:
    for call in (lambda: unix.open_handle(1), lambda: unix.memory_file("x"), lambda: windows.open_handle(1)):
        with pytest.raises(OSError, match="not implemented") as caught:
            call()
        assert caught.value.errno == errno.ENOSYS


def test_a_handle_on_linux_is_of_one_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    handle = linux.open_handle(child.pid)
    linux.send_by(handle, 15)
    assert linux.await_end(child.pid) == -15
    assert child.wait() == -15
    with pytest.raises(ProcessLookupError):
        linux.send_by(handle, 15)
    os.close(handle)
