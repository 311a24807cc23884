"""Looking names up without standing still."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from accel_launch.ranks import names
from accel_launch.ranks.names import LookUp
from tests.launch.processes import until


def answered(asked: LookUp) -> list[Any]:
    assert until(lambda: asked.found is not None, 30)
    return asked.found or []


def test_a_number_is_known_at_once() -> None:
    (one,) = LookUp("::1", 80).found or []
    assert (one[0], one[1], one[4][:2]) == (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 80))


def test_a_name_of_this_machine_is_known_in_a_moment() -> None:
    assert ("127.0.0.1", 80) in [one[4] for one in answered(LookUp("localhost", 80))]


@pytest.mark.parametrize("name", ["name.invalid", "a" * 64, "."])
def test_a_name_that_is_none_has_no_address(name: str) -> None:
    assert answered(LookUp(name, 80)) == []


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, real = Event(), socket.getaddrinfo

    def slow(name: str, port: int, family: int, kind: int, *, flags: int = 0) -> list[object]:
        if flags:
            return [*real(name, port, family, kind, flags=flags)]
        assert answer.wait(10)
        return [*real("127.0.0.9", port, family, kind)]

    monkeypatch.setattr("socket.getaddrinfo", slow)
    asked = LookUp("trainer", 80)
    assert asked.found is None
    answer.set()
    assert [one[4] for one in answered(asked)] == [("127.0.0.9", 80)]


def test_a_process_says_what_this_one_would(tmp_path: Path) -> None:
    """Before a fork, for which threads are in the way."""
    words = [sys.executable, "-I", "-S", names.__file__, "localhost", "9"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path, env={})
    here = socket.getaddrinfo("localhost", 9, type=socket.SOCK_DGRAM)
    assert json.loads(done.stdout) == json.loads(json.dumps(here))
    assert subprocess.run([*words[:-2], "name.invalid", "9"], capture_output=True, check=False).stdout == b""
