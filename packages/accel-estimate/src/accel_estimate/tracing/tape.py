"""What was allocated and released in a step, in its order; and what was alive at its peaks."""

from __future__ import annotations

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ROUND = 512
"""The caching allocator rounds every size up to a multiple of this (c10/cuda/CUDACachingAllocator, kMinBlockSize)."""

KINDS: tuple[str, ...] = ("weights", "gradients", "optimizer", "activations", "logits", "communication")
"""What memory is for: the components of an estimate."""


class Block:
    """One piece of memory.

    Attributes:
        size: its bytes as requested.
        kind: what it is for, one of `KINDS`; it may become clear only later.
        cause: the operation that needed it.
        line: the line of a user's script that needed it; an empty string if there is none.
        stream: a number for the stream on which it was allocated; 0 is that of the computation.

    """

    __slots__ = ("cause", "kind", "line", "size", "stream")

    def __init__(self, size: int, kind: str, cause: str, stream: int = 0) -> None:
        self.size, self.kind, self.cause, self.line, self.stream = size, kind, cause, "", stream

    @property
    def rounded(self) -> int:
        """The bytes that the allocator hands out for it."""
        return -(-self.size // ROUND) * ROUND


class Peak(Record):
    """The most bytes alive in one phase: by kind, what operation and line reached it, and after how many events."""

    phase: str
    parts: dict[str, int]
    cause: str
    at: int
    line: str = ""

    @property
    def total(self) -> int:
        """All bytes alive."""
        return sum(self.parts.values())


class Tape:
    """Allocations and releases in their order; `phase` names what runs now."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._events: list[int] = []  # the number of a block; its complement where it is released
        self._phases: list[tuple[int, str]] = [(0, "")]

    def enter(self, phase: str) -> None:
        """Begin a phase."""
        self._phases.append((len(self._events), phase))

    def allocate(self, size: int, kind: str, cause: str, stream: int = 0) -> int:
        """Note an allocation; return the block's number."""
        self.blocks.append(Block(size, kind, cause, stream))
        number = len(self.blocks) - 1
        self._events.append(number)
        return number

    def release(self, number: int) -> None:
        """Note that a block is released."""
        self._events.append(~number)

    def events(self) -> Iterator[tuple[int, int, int]]:
        """Yield a block's number, bytes and stream for each allocation, and -1 for the bytes of each release."""
        for event in self._events:
            block = self.blocks[event if event >= 0 else ~event]
            yield (event, block.size, block.stream) if event >= 0 else (~event, -1, block.stream)

    def alive(self, at: int | None = None) -> list[Block]:
        """Return what is alive after so many events; None: after all."""
        found: dict[int, Block] = {}
        for event in self._events[:at]:
            if event >= 0:
                found[event] = self.blocks[event]
            else:
                del found[~event]
        return list(found.values())

    def peaks(self) -> list[Peak]:
        """Return the peak of each phase, phases of one name together, in the order in which they first began."""
        best: dict[str, Peak] = {}
        ends = [at for at, _ in self._phases[1:]] + [len(self._events)]
        alive: dict[str, int] = dict.fromkeys(KINDS, 0)
        total = 0
        for (start, phase), end in zip(self._phases, ends, strict=True):
            known = best.get(phase)
            most = known.total if known else -1
            if total > most:
                best[phase], most = Peak(phase, dict(alive), "what was there before", start), total
            for place, event in enumerate(self._events[start:end], start + 1):
                block = self.blocks[event if event >= 0 else ~event]
                change = block.rounded if event >= 0 else -block.rounded
                alive[block.kind] += change
                total += change
                if total > most:
                    best[phase], most = Peak(phase, dict(alive), block.cause, place, block.line), total
        return [peak for phase, peak in best.items() if phase]
