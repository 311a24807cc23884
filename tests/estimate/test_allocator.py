"""The model of the caching allocator: sizes of its segments, splitting and joining, and what never changes."""

import random
from itertools import pairwise

import pytest

from accel_estimate.tracing.allocator import MIB, Allocator, Block, replay
from tests.fuzzing import fuzz


@pytest.mark.parametrize(
    ("size", "allocated", "reserved"),
    [
        (1, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        (19 * MIB, 20 * MIB, 20 * MIB),  # a rest of 1 MiB is no block of its own
        (20 * MIB + 1, 20 * MIB + 512, 22 * MIB),
        (501 * MIB, 502 * MIB, 502 * MIB),
    ],
)  # fmt: skip
def test_one_block(size: int, allocated: int, reserved: int) -> None:
    found = Allocator()
    found.allocate(size)
    assert (found.allocated, found.reserved) == (allocated, reserved)


def test_the_smallest_free_block_that_suffices_is_taken() -> None:
    found = Allocator()
    large, small, other = (found.allocate(size * MIB) for size in (40, 30, 50))
    for block in (large, small, other):
        found.release(block)
    assert found.allocate(25 * MIB).at == small.at
    assert found.reserved == 120 * MIB


def test_free_neighbours_become_one() -> None:
    found = Allocator()
    blocks = [found.allocate(4 * MIB) for _ in range(5)]  # five in one segment of twenty
    assert found.reserved == 20 * MIB
    for index in (1, 3, 2):
        found.release(blocks[index])
    assert found.allocate(12 * MIB).at == blocks[1].at
    assert found.reserved == 20 * MIB


def test_memory_that_lies_apart_is_reserved_again_unless_segments_expand() -> None:
    events = [(0, 64 * MIB, 0), (0, -1, 0), (1, 100 * MIB, 0), (1, -1, 0), (2, 164 * MIB, 0)]
    assert replay(events).most_reserved == (64 + 100 + 164) * MIB
    assert replay(events, expandable=True).most_reserved == 180 * MIB  # nine times twenty


def test_memory_of_a_stream_serves_that_stream_alone() -> None:
    for second, reserved in ((0, 64), (1, 128)):
        events = [(0, 64 * MIB, 0), (0, -1, 0), (1, 64 * MIB, second)]
        found = replay(events)
        assert (found.most_allocated, found.most_reserved) == (64 * MIB, reserved * MIB)


def test_a_block_is_released_once() -> None:
    found = Allocator()
    block = found.allocate(1)
    found.release(block)
    with pytest.raises(ValueError, match="isn't in use"):
        found.release(block)


def consistent(found: Allocator, held: list[Block]) -> None:
    """Segments are covered without gaps or overlaps, and sums are those of the blocks."""
    segments = list(found.blocks())
    blocks = [block for segment in segments for block in segment]
    assert found.allocated == sum(block.size for block in blocks if block.used) <= found.most_allocated
    assert found.reserved == sum(block.size for block in blocks) <= found.most_reserved
    assert {id(block) for block in held} == {id(block) for block in blocks if block.used}
    places: list[tuple[int, int]] = []
    for segment in segments:
        for block, after in pairwise(segment):
            assert block.at + block.size == after.at
            assert after.before is block
            assert block.used or after.used, "free neighbours weren't joined"
        assert all(block.size % 512 == 0 and block.size > 0 for block in segment)
        places.append((segment[0].at, segment[-1].at + segment[-1].size))
        free = {(b.size, b.at) for b in segment if not b.used}
        assert free <= {(size, at) for size, at, _ in segment[0].pool._free}
    places.sort()
    assert all(end <= start for (_, end), (start, _) in pairwise(places))


def random_round(source: random.Random) -> None:
    found = Allocator(expandable=source.random() < 0.5)
    held: list[Block] = []
    for _ in range(source.randrange(1, 120)):
        if held and source.random() < 0.45:
            found.release(held.pop(source.randrange(len(held))))
        else:
            size = source.choice(
                (source.randrange(0, 2000), source.randrange(0, 2 * MIB), source.randrange(0, 90 * MIB))
            )
            block = found.allocate(size)
            assert size <= block.size
            assert found.expandable or block.size - size <= MIB + 512
            held.append(block)
        consistent(found, held)
    for block in held:
        found.release(block)
    consistent(found, [])
    before = found.reserved
    if not found.expandable:
        assert all(len(segment) == 1 for segment in found.blocks())
    assert (found.allocated, found.reserved) == (0, before)


def test_invariants() -> None:
    for seed in range(30):
        random_round(random.Random(seed))


@pytest.mark.fuzz
def test_fuzz_the_allocator() -> None:
    fuzz(random_round)
