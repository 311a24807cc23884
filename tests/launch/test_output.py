"""What ranks print, on its way through the router: whole lines, prefixes, files, bounded memory."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from accel_launch.planning.types import Display
from accel_launch.running.output import channel, router, stream
from accel_launch.running.output.channel import PATIENCE, Channel
from accel_launch.running.output.router import OutputRouter
from accel_launch.running.output.stream import Stream, prefixed
from accel_launch.running.output.tail import TAIL, Tail


class Clock:
    """Time that a test moves on."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (channel, router, stream):
        monkeypatch.setattr(module, "time", made)
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

    def write(self, rank: int, data: bytes) -> None:
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
def output(ranks: Ranks) -> OutputRouter:
    made = OutputRouter(Display())
    made.streams = made.distinct = (ranks.stream, made.streams[1])
    made.channels.open = {channel.fd: channel for channel in ranks.channels}
    return made


@pytest.mark.parametrize(
    ("data", "starts", "shown"),
    [
        (b"a\nb\n", True, b"[0] a\n[0] b\n"),
        (b"a\r\nb\r\n", True, b"[0] a\r\n[0] b\r\n"),
        (b"10%\r20%\r", True, b"[0] 10%\r[0] 20%\r"),
        (b"\n\n", True, b"[0] \n[0] \n"),
        (b"the end\nthe next", False, b"the end\n[0] the next"),
        (b"no line", True, b"[0] no line"),
    ],
)
def test_a_prefix_stands_before_each_line(data: bytes, starts: bool, shown: bytes) -> None:
    assert prefixed(data, b"[0] ", starts=starts) == shown


def test_whole_lines_are_passed_on_and_the_rest_is_kept(ranks: Ranks) -> None:
    ranks.write(0, b"one\ntwo\nthr")
    ranks.write(1, b"other\n")
    assert bytes(ranks.stream.waiting) == b"one\ntwo\nother\n"
    ranks.write(0, b"ee\n")
    assert bytes(ranks.stream.waiting) == b"one\ntwo\nother\nthree\n"


def test_a_carriage_return_ends_a_line_too(ranks: Ranks) -> None:
    ranks.write(0, b"10%\r20%\r30")
    assert bytes(ranks.stream.waiting) == b"10%\r20%\r"


def test_the_last_line_needs_no_end(ranks: Ranks) -> None:
    ranks.write(0, b"no end")
    assert not ranks.stream.waiting
    ranks.end(0)
    assert bytes(ranks.stream.waiting) == b"no end"


def test_the_beginning_of_a_line_is_passed_on_after_50_ms(ranks: Ranks, output: OutputRouter, clock: Clock) -> None:
    ranks.write(0, b"50%")
    clock.now += 0.04
    assert output.overdue() == pytest.approx(0.01)
    assert not ranks.stream.waiting
    ranks.write(0, b" of it")  # which doesn't make it younger
    clock.now += 0.01
    assert output.overdue() is None
    assert bytes(ranks.stream.waiting) == b"50% of it"


def test_a_line_begun_keeps_the_others_waiting_only_so_long(ranks: Ranks, output: OutputRouter, clock: Clock) -> None:
    ranks.write(0, b"more? ")
    clock.now += PATIENCE
    output.overdue()
    ranks.write(1, b"other\n")
    clock.now += 0.49
    assert output.overdue() == pytest.approx(0.01)
    assert bytes(ranks.stream.waiting) == b"more? "
    clock.now += 0.01
    output.overdue()
    assert bytes(ranks.stream.waiting) == b"more? \nother\n"


def test_nothing_waits_for_a_reader_that_is_gone(ranks: Ranks, output: OutputRouter, clock: Clock) -> None:
    ranks.write(0, b"more? ")
    clock.now += 0.05
    output.overdue()
    ranks.stream.write()
    ranks.write(1, b"other\n")
    poller = select.poll()
    output.register(poller)
    os.close(ranks.shown)
    output.handle(poller, poller.poll(0))
    assert output.gone
    ranks.write(1, b"other\n")
    clock.now += 0.5
    assert output.overdue() is None
    assert not output.waiting
    output.register(poller)
    assert not poller.poll(0), "it would be reported again and again"
    ranks.shown = os.open(os.devnull, os.O_RDONLY)


def test_a_line_in_parts_has_one_prefix_and_an_end(ranks: Ranks, output: OutputRouter, clock: Clock) -> None:
    ranks.channels[0].prefix = b"[0] "
    for part in (b"50%", b" of it"):
        ranks.write(0, part)
        clock.now += PATIENCE
        output.overdue()
    ranks.end(0)
    assert bytes(ranks.stream.waiting) == b"[0] 50% of it\n"


def test_memory_is_bounded_for_a_line_without_end_and_for_what_is_held(ranks: Ranks) -> None:
    ranks.write(0, b"x" * 60_000)
    assert not ranks.stream.waiting
    ranks.write(0, b"x" * 60_000)
    assert len(ranks.stream.waiting) == 120_000
    for _turn in range(16):
        assert not ranks.channels[1].blocked
        ranks.write(1, b"y" * 59_999 + b"\n")
    assert len(ranks.stream.waiting) == 120_000
    assert ranks.channels[1].blocked


def test_the_tail_is_the_end_of_what_was_written(ranks: Ranks) -> None:
    first = ranks.channels[0]
    tail = first.tail = Tail()
    first.shown = False
    written = b""
    for number in range(4000):
        line = b"line %08d of the rank's standard error\n" % number
        ranks.write(0, line)
        written += line
        assert len(bytes(tail)) <= 2 * TAIL
    assert written.endswith(bytes(tail))
    assert len(bytes(tail)) >= TAIL


def test_each_run_has_a_folder_of_its_own_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folders = {OutputRouter(Display(log_dir="~/logs", kept=(3,))).channels.logs.path for _run in range(2)}
    assert folders == {str(path) for path in (tmp_path / "logs").iterdir() if not path.is_symlink()}
    assert len(folders) == 2
