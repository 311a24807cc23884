"""What ranks print, on its way through the pump: whole lines, marks, files, bounded memory."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from accel_launch import output
from accel_launch.output import Channel, Pump, Stream, marked
from accel_launch.plan import Display


class Clock:
    """Time that a test moves on."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(output, "time", made)
    return made


class Ranks:
    """Two ranks that write to one stream."""

    def __init__(self) -> None:
        out, self.stream_end = os.pipe()
        self.shown = out
        self.stream = Stream(self.stream_end)
        pipes = [os.pipe() for _rank in range(2)]
        self.channels = [Channel(reader, self.stream) for reader, _writer in pipes]
        self.writers = [writer for _reader, writer in pipes]

    def say(self, rank: int, data: bytes) -> None:
        os.write(self.writers[rank], data)
        assert self.channels[rank].read()

    def end(self, rank: int) -> None:
        os.close(self.writers[rank])
        self.writers[rank] = -1
        assert not self.channels[rank].read()

    def close(self) -> None:
        for rank, writer in enumerate(self.writers):
            if writer >= 0:
                self.end(rank)
        os.close(self.shown)
        os.close(self.stream_end)


@pytest.fixture
def ranks() -> Iterator[Ranks]:
    made = Ranks()
    yield made
    made.close()


@pytest.fixture
def pump(ranks: Ranks) -> Pump:
    made = Pump(Display())
    made.streams = (ranks.stream, made.streams[1])
    made.channels = {channel.fd: channel for channel in ranks.channels}
    return made


@pytest.mark.parametrize(
    ("data", "starts", "told"),
    [
        (b"a\nb\n", True, b"[0] a\n[0] b\n"),
        (b"a\r\nb\r\n", True, b"[0] a\r\n[0] b\r\n"),
        (b"10%\r20%\r", True, b"[0] 10%\r[0] 20%\r"),
        (b"\n\n", True, b"[0] \n[0] \n"),
        (b"the end\nthe next", False, b"the end\n[0] the next"),
        (b"no line", True, b"[0] no line"),
    ],
)
def test_a_mark_stands_before_each_line(data: bytes, starts: bool, told: bytes) -> None:
    assert marked(data, b"[0] ", starts=starts) == told


def test_whole_lines_are_passed_on_and_the_rest_is_kept(ranks: Ranks) -> None:
    ranks.say(0, b"one\ntwo\nthr")
    ranks.say(1, b"other\n")
    assert bytes(ranks.stream.waiting) == b"one\ntwo\nother\n"
    ranks.say(0, b"ee\n")
    assert bytes(ranks.stream.waiting) == b"one\ntwo\nother\nthree\n"


def test_a_carriage_return_ends_a_line_too(ranks: Ranks) -> None:
    ranks.say(0, b"10%\r20%\r30")
    assert bytes(ranks.stream.waiting) == b"10%\r20%\r"


def test_the_last_line_needs_no_end(ranks: Ranks) -> None:
    ranks.say(0, b"no end")
    assert not ranks.stream.waiting
    ranks.end(0)
    assert bytes(ranks.stream.waiting) == b"no end"


def test_the_beginning_of_a_line_is_passed_on_after_50_ms(ranks: Ranks, pump: Pump, clock: Clock) -> None:
    ranks.say(0, b"50%")
    clock.now += 0.04
    assert pump.overdue() == pytest.approx(0.01)
    assert not ranks.stream.waiting
    ranks.say(0, b" of it")  # which doesn't make it younger
    clock.now += 0.01
    assert pump.overdue() is None
    assert bytes(ranks.stream.waiting) == b"50% of it"


def test_a_line_begun_keeps_the_others_waiting_only_so_long(ranks: Ranks, pump: Pump, clock: Clock) -> None:
    ranks.say(0, b"more? ")
    clock.now += output.PATIENCE
    pump.overdue()
    ranks.say(1, b"other\n")
    clock.now += 0.49
    assert pump.overdue() == pytest.approx(0.01)
    assert bytes(ranks.stream.waiting) == b"more? "
    clock.now += 0.01
    pump.overdue()
    assert bytes(ranks.stream.waiting) == b"more? \nother\n"


def test_nothing_waits_for_a_reader_that_is_gone(ranks: Ranks, pump: Pump, clock: Clock) -> None:
    ranks.say(0, b"more? ")
    clock.now += 0.05
    pump.overdue()
    ranks.stream.write()
    ranks.say(1, b"other\n")
    poller = select.poll()
    pump.register(poller)
    os.close(ranks.shown)
    pump.handle(poller, poller.poll(0))
    assert pump.gone
    ranks.say(1, b"other\n")
    clock.now += 0.5
    assert pump.overdue() is None
    assert not pump.waiting
    pump.register(poller)
    assert not poller.poll(0), "it would be told again and again"
    ranks.shown = os.open(os.devnull, os.O_RDONLY)


def test_a_marked_line_in_parts_has_one_mark_and_an_end(ranks: Ranks, pump: Pump, clock: Clock) -> None:
    ranks.channels[0].mark = b"[0] "
    for part in (b"50%", b" of it"):
        ranks.say(0, part)
        clock.now += output.PATIENCE
        pump.overdue()
    ranks.end(0)
    assert bytes(ranks.stream.waiting) == b"[0] 50% of it\n"


def test_memory_is_bounded_for_a_line_without_end_and_for_what_is_held(ranks: Ranks) -> None:
    ranks.say(0, b"x" * 60_000)
    assert not ranks.stream.waiting
    ranks.say(0, b"x" * 60_000)
    assert len(ranks.stream.waiting) == 120_000
    for _turn in range(16):
        assert not ranks.channels[1].held_up
        ranks.say(1, b"y" * 59_999 + b"\n")
    assert len(ranks.stream.waiting) == 120_000
    assert ranks.channels[1].held_up


def test_the_tail_is_the_end_of_what_was_said(ranks: Ranks) -> None:
    channel = ranks.channels[0]
    channel.tail = bytearray()
    channel.shown = False
    said = b""
    for number in range(4000):
        line = b"line %08d of the rank's standard error\n" % number
        ranks.say(0, line)
        said += line
        assert len(channel.tail) <= 2 * output.TAIL
    assert said.endswith(channel.tail)
    assert len(channel.tail) >= output.TAIL


def test_each_run_has_a_folder_of_its_own_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folders = {Pump(Display(log_dir="~/logs", kept=(3,))).folder for _run in range(2)}
    assert folders == {str(path) for path in (tmp_path / "logs").iterdir()}
    assert len(folders) == 2
