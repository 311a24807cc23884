"""A model of torch's caching allocator: what it reserves for a sequence of allocations and releases.

It needs no torch. The rules and sizes are those of c10/cuda/CUDACachingAllocator.cpp with its defaults, on a device
whose memory suffices. What was allocated on one stream serves that stream alone.
"""

from __future__ import annotations

from bisect import bisect_left, insort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MIB = 2**20
ROUND = 512
"""Every size is rounded up to a multiple of this (kMinBlockSize)."""
SMALL = MIB
"""Sizes up to this come from the pool of small blocks (kSmallSize)."""
SMALL_SEGMENT = 2 * MIB
"""The segments of that pool (kSmallBuffer)."""
LARGE_SEGMENT = 20 * MIB
"""The segments of the other pool, for sizes below `LARGE` (kLargeBuffer); what expandable segments grow by there."""
LARGE = 10 * MIB
"""From here on a segment is as large as its first block, rounded (kMinLargeAlloc)."""
LARGE_ROUND = 2 * MIB
"""What the sizes of those segments are multiples of (kRoundLarge)."""


def rounded(size: int, step: int = ROUND) -> int:
    """Return a size rounded up to a multiple of `step`; at least one."""
    return max(-(-size // step), 1) * step


class Block:
    """A part of a segment: free or in use, with its neighbours."""

    __slots__ = ("after", "at", "before", "pool", "size", "used")

    def __init__(self, at: int, size: int, pool: Pool) -> None:
        """Take `size` bytes at the address `at`; free, and without neighbours."""
        self.at, self.size, self.pool = at, size, pool
        self.used = False
        self.before: Block | None = None
        self.after: Block | None = None


class Pool:
    """Segments for blocks of one kind, and their free blocks ordered by size and address."""

    def __init__(self, *, small: bool) -> None:
        """Begin without segments."""
        self.small = small
        self.segments: list[Block] = []
        self.last: Block | None = None  # of the newest segment
        self._free: list[tuple[int, int, Block]] = []

    def add(self, block: Block) -> None:
        """Make a block free."""
        block.used = False
        insort(self._free, (block.size, block.at, block), key=_order)

    def remove(self, block: Block) -> None:
        """Take a free block out."""
        del self._free[bisect_left(self._free, (block.size, block.at), key=_order)]

    def best(self, size: int) -> Block | None:
        """Take the smallest free block that suffices, at the lowest address of several; None: there is none."""
        place = bisect_left(self._free, (size, -1), key=_order)
        return self._free.pop(place)[2] if place < len(self._free) else None


def _order(entry: tuple[int, int, Block]) -> tuple[int, int]:
    return entry[:2]


class Allocator:
    """The caching allocator's state; with `expandable`, as with `expandable_segments:True`.

    Attributes:
        allocated: bytes in use now, as torch.cuda.memory_allocated tells.
        reserved: bytes taken of the device, as torch.cuda.memory_reserved tells.
        most_allocated: the most of them so far.
        most_reserved: the most of them so far.

    """

    def __init__(self, *, expandable: bool = False) -> None:
        """Begin with nothing reserved."""
        self.expandable = expandable
        self.allocated = self.reserved = self.most_allocated = self.most_reserved = 0
        self._pools: dict[tuple[int, bool], Pool] = {}
        self._end = 0

    def allocate(self, size: int, stream: int = 0) -> Block:
        """Return a block of at least `size` bytes."""
        size = rounded(size)
        pool = self._pool(stream, small=size <= SMALL)
        block = pool.best(size) or (self._grown(pool, size) if self.expandable else self._segment(pool, size))
        self._split(block, size)
        block.used = True
        self.allocated += block.size
        self.most_allocated = max(self.most_allocated, self.allocated)
        return block

    def _pool(self, stream: int, *, small: bool) -> Pool:
        if (pool := self._pools.get((stream, small))) is None:
            pool = self._pools[stream, small] = Pool(small=small)
        return pool

    def release(self, block: Block) -> None:
        """Take a block back, and join it with free neighbours.

        Raises:
            ValueError: it isn't in use.

        """
        if not block.used:
            raise ValueError("the block isn't in use")
        self.allocated -= block.size
        before, after = block.before, block.after
        if before is not None and not before.used:
            block.pool.remove(before)
            self._join(before, block)
            block.used = False
            block = before
        if after is not None and not after.used:
            block.pool.remove(after)
            self._join(block, after)
        block.pool.add(block)

    @staticmethod
    def _join(block: Block, after: Block) -> None:
        block.size += after.size
        _link(block, after.after)
        if after.pool.last is after:
            after.pool.last = block

    def blocks(self) -> Iterator[list[Block]]:
        """Yield the blocks of each segment, by address."""
        for pool in self._pools.values():
            for first in pool.segments:
                found: list[Block] = []
                block: Block | None = first
                while block is not None:
                    found.append(block)
                    block = block.after
                yield found

    def _segment(self, pool: Pool, size: int) -> Block:
        """Return a new segment as one block."""
        large = LARGE_SEGMENT if size < LARGE else rounded(size, LARGE_ROUND)
        whole = SMALL_SEGMENT if pool.small else large
        block = Block(self._end, whole, pool)
        pool.segments.append(block)
        self._take(whole)
        self._end += whole
        return block

    def _grown(self, pool: Pool, size: int) -> Block:
        """Return the end of the pool's one segment, grown until it suffices."""
        last = pool.last
        if last is not None and not last.used:
            pool.remove(last)
        else:
            last = self._attached(pool, last)
        more = rounded(size - last.size, SMALL_SEGMENT if pool.small else LARGE_SEGMENT)
        last.size += more
        self._take(more)
        return last

    def _attached(self, pool: Pool, last: Block | None) -> Block:
        """Return an empty block behind the last one; a pool's first begins its segment, at addresses of its own."""
        if last is None:
            block = Block(2**50 * list(self._pools.values()).index(pool), 0, pool)
            pool.segments.append(block)
        else:
            block = Block(last.at + last.size, 0, pool)
            _link(last, block)
        pool.last = block
        return block

    def _split(self, block: Block, size: int) -> None:
        """Free what a block has beyond `size`, if that is worth a block of its own."""
        rest = block.size - size
        if rest < ROUND or not (self.expandable or block.pool.small or rest > SMALL):
            return
        other = Block(block.at + size, rest, block.pool)
        if block.pool.last is block:
            block.pool.last = other
        _link(other, block.after)
        _link(block, other)
        block.size = size
        block.pool.add(other)

    def _take(self, size: int) -> None:
        self.reserved += size
        self.most_reserved = max(self.most_reserved, self.reserved)


def _link(first: Block, second: Block | None) -> None:
    first.after = second
    if second is not None:
        second.before = first


def replay(events: Iterable[tuple[int, int, int]], *, expandable: bool = False) -> Allocator:
    """Return the allocator after a sequence of allocations (name, bytes, stream) and releases (with bytes of -1)."""
    allocator = Allocator(expandable=expandable)
    held: dict[int, Block] = {}
    for name, size, stream in events:
        if size < 0:
            allocator.release(held.pop(name))
        else:
            held[name] = allocator.allocate(size, stream)
    return allocator
