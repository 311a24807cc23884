"""Looking names up without standing still."""

from __future__ import annotations

import socket
from threading import Event

import pytest

from accel_launch.names import LookUp

STREAM = socket.SOCK_STREAM


def test_a_number_is_known_at_once() -> None:
    (one,) = LookUp("::1", 80, STREAM).found or []
    assert (one[0], one[1], one[4][:2]) == (socket.AF_INET6, STREAM, ("::1", 80))


def test_a_name_of_this_machine_is_known_in_a_moment() -> None:
    assert ("127.0.0.1", 80) in [one[4] for one in LookUp("localhost", 80, STREAM).wait(5)]


@pytest.mark.parametrize("name", ["name.invalid", "a" * 64, "."])
def test_a_name_that_is_none_has_no_address(name: str) -> None:
    asked = LookUp(name, 80, STREAM)
    assert asked.wait(30) == asked.found == []


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, real = Event(), socket.getaddrinfo

    def slow(name: str, port: int, family: int, kind: int, *, flags: int = 0) -> list[object]:
        if flags:
            return [*real(name, port, family, kind, flags=flags)]
        assert answer.wait(10)
        return [*real("127.0.0.9", port, family, kind)]

    monkeypatch.setattr("socket.getaddrinfo", slow)
    asked = LookUp("trainer", 80, STREAM)
    assert (asked.wait(0.1), asked.found) == ([], None)
    answer.set()
    assert [one[4] for one in asked.wait(5)] == [("127.0.0.9", 80)]
