"""Whether a run stands still, from what its ranks were seen doing while nothing else moved, and who is to blame.

A rank that waits for others isn't the culprit; being elsewhere is. A rank that computes may need its time: only one
whose stacks are few and return, under the interpreter's lock, while others wait, goes round in a loop. If its
variables change it may get on all the same.
"""

from __future__ import annotations

from accel_config.record import Record
from accel_launch.inspecting.places import IN_STORE, locate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accel_launch.inspecting.places import Place
    from accel_launch.inspecting.snapshot import Process, RankStack
    from accel_launch.inspecting.threads import Frame

FEW_STACKS, FEW_FUNCTIONS = 8, 3  # different ones that a loop without progress has, and calls, at most
MIXED = 0.6  # share of the looks in which a rank is in one place, at most, if it surely gets on
DISTINCT = 4  # variables of a rank, at least, of which they change
LINES = 3  # of a loop that only asks for something, at most
POLLED = 5  # looks at a rank, of which one is within the function that asks whether a collective is done
DOMINANT = 0.75  # share of the looks in which a rank that waits is in one place; it may poll from there
RECENT = 0.25  # share of the looks that are the latest ones
STANDING = frozenset({"waiting", "still", "pacing", "stopped", "unread"})
"""Kinds of ranks that don't run."""
MOVING = frozenset({"changing", "computing", "moving", "paused"})
"""Kinds of ranks that get on, or may do so."""
FORMER = 0.8  # share of the looks before a rank has come to a place, at least, in which it was elsewhere


class Look(Record):
    """One rank, seen once."""

    stack: RankStack
    busy: bool
    """Whether a thread of it, or a process below it, computed since the look before."""
    key: object
    """Equal for equal stacks."""
    gil: bool
    at: float = 0.0
    """When, in monotonic seconds; 0 if the time doesn't matter."""
    state: int | None = None
    """Equal for equal local variables of all its calls; None if they weren't read."""
    aside: object = None
    """What else of it computes: equal for equal stacks of that thread, or a process below; None if nothing does."""
    free: bool = False
    """Whether that computes outside of the interpreter's lock."""


def key(stack: RankStack) -> object:
    """Return what is equal for equal stacks of the main thread; for other programs, what the kernel waits in."""
    process = stack.process
    if process is None:
        return "ended"
    main = process.main
    if main is None:
        return process.facts.state == "R" or (process.facts.call, process.facts.channel)
    return tuple((frame.file, frame.line, frame.function) for frame in main.frames)


def kind(looks: Sequence[Look]) -> str:
    """Return what a rank does.

    It has ``ended``, is ``stopped``, or ``paused`` at a prompt; it is ``moving`` to other places, ``computing``,
    ``waiting`` for others, or ``still``. One that is ``looping`` always comes back to the same lines, and the same
    variables; of one that is ``changing`` the variables differ. One that is ``pacing`` is where it was, hardly
    computes, and its variables differ each time. Of one that is ``unread`` no stack is known.
    """
    last = looks[-1].stack
    if last.process is None:
        return "ended"
    facts = last.process.facts
    if last.place.prompt or facts.at_terminal or facts.tracer or facts.state == "t":
        return "paused"
    if facts.state == "T":
        return "stopped"
    busy = sum(look.busy for look in looks) * 2 > len(looks)
    collective = [look.stack.place for look in looks if look.stack.place.collective]
    waits = len({(place.file, place.line) for place in collective}) == 1 and (
        len(collective) * 2 > len(looks) or (_polls(looks, collective) and len(collective) * POLLED > len(looks))
    )
    if waits and not (busy and not collective[-1].certain):
        return "computing" if _aside(looks) else "waiting"
    if moving(looks, busy=busy):
        return "moving"
    if not busy:
        known = last.process.main is not None and last.process.main.frames
        return "unread" if not known else "pacing" if _varies(looks) else "still"
    if sum(look.gil for look in looks) * 2 < len(looks):
        return "computing"
    return "changing" if _varies(looks) or _hidden(looks) else "looping"


def _varies(looks: Sequence[Look]) -> bool:
    """Return whether the variables of a rank change, and are hardly ever again what they were."""
    states = [look.state for look in looks if look.state is not None]
    found = [state for state, before in zip(states, [None, *states], strict=False) if state != before]
    once = sum(found.count(state) == 1 for state in found)
    return len(set(found)) >= DISTINCT and once * 2 > len(set(found))


def _aside(looks: Sequence[Look]) -> bool:
    """Return whether something else of a rank that waits gets on: outside of the lock, or in many places."""
    found = [look for look in looks if look.aside is not None]
    if len(found) * 2 <= len(looks):
        return False
    return sum(look.free for look in found) * 2 > len(found) or len({look.aside for look in found}) > FEW_STACKS


def _polls(looks: Sequence[Look], collective: Sequence[Place]) -> bool:
    """Return whether a rank goes round in a loop that asks whether a collective is done, mostly, in a function."""
    asks = collective[-1]
    inside = sum(
        place.collective or (place.loop == asks.line and place.file == asks.file)
        for place in (look.stack.place for look in looks)
    )
    return asks.loop == asks.line and inside * 2 > len(looks)


def _outermost_first(looks: Sequence[Look]) -> list[tuple[Frame, ...]]:
    return [look.stack.process.main.frames[::-1] for look in looks if look.stack.process and look.stack.process.main]


def _common(stacks: Sequence[tuple[Frame, ...]]) -> int:
    """Return how many of the outermost calls are in the same function at every look."""
    depth = 0
    for level in zip(*stacks, strict=False):
        if len({(frame.file, frame.function) for frame in level}) > 1:
            break
        depth += 1
    return depth


def loop(looks: Sequence[Look]) -> Place:
    """Return where a rank goes round: the innermost call that it was in at every look, at its most frequent line."""
    stacks = _outermost_first(looks)
    depth = _common(stacks)
    inner = [frames[:depth][::-1] for frames in stacks]
    return locate(max(inner, key=inner.count)) if depth else looks[-1].stack.place


def changes(looks: Sequence[Look]) -> bool:
    """Return whether no stack of a rank is the one that it nearly always has; after one look that isn't known."""
    keys = [look.key for look in looks]
    return len(keys) == 1 or keys.count(max(set(keys), key=keys.count)) < DOMINANT * len(keys)


def mixed(looks: Sequence[Look]) -> bool:
    """Return whether no stack of a rank is much more frequent than the others."""
    keys = [look.key for look in looks]
    return keys.count(max(set(keys), key=keys.count)) <= MIXED * len(keys)


def apart(some: Sequence[Look], others: Sequence[Look], *, calls: bool) -> bool:
    """Return whether a rank was elsewhere at some looks than at others: at other lines, or in other ``calls``."""
    before, after = (
        {tuple((frame.file, frame.function) for frame in frames) for frames in _outermost_first(looks)}
        if calls
        else {look.key for look in looks}
        for looks in (some, others)
    )
    return bool(before and after) and before.isdisjoint(after)


def moving(looks: Sequence[Look], *, busy: bool) -> bool:
    """Return whether a rank's stacks show that it gets on."""
    keys = [look.key for look in looks]
    different = set(keys)
    if busy:
        stacks = _outermost_first(looks)
        depth = _common(stacks)
        called = {(frame.file, frame.function) for frames in stacks for frame in frames[depth:]}
        return len(different) > FEW_STACKS or len(called) > FEW_FUNCTIONS
    if _new(keys):
        return True
    return len(keys) > 1 and changes(looks)


def arrived(looks: Sequence[Look]) -> float:
    """Return when a rank was first seen where it is now, if it was elsewhere before; else 0."""
    keys = [look.key for look in looks]
    now = keys[-1:] if _new(keys) else _late(keys)
    elsewhere = [place for place, one in enumerate(keys) if one not in now]
    count = elsewhere[-1] + 1 if elsewhere else 0  # looks until then
    return looks[count].at if len(elsewhere) > FORMER * count else 0.0


def _new(keys: Sequence[object]) -> bool:
    """Return whether the last stack was never seen before the latest looks."""
    late = _late(keys)
    return len(keys) > len(late) and keys[-1] not in keys[: -len(late)]


def _late(keys: Sequence[object]) -> Sequence[object]:
    return keys[-max(int(len(keys) * RECENT), 1) :]


def _hidden(looks: Sequence[Look]) -> bool:
    """Return whether a rank goes round outside of any function, where its variables aren't seen, in several lines."""
    return loop(looks).function == "<module>" and len({look.key for look in looks}) > LINES


class Verdict(Record):
    """What the ranks do, and whether the run stands still."""

    kinds: dict[int, str]
    """What each rank does."""
    places: dict[int, Place]
    """Where ranks are that go round in a loop, or wait while the others wait for them."""

    @property
    def stalled(self) -> bool:
        """Whether nothing can be expected to move."""
        return self.idle and not STANDING.isdisjoint(self.kinds.values())

    @property
    def idle(self) -> bool:
        """Whether nothing moves here; in a run over several machines others then know whether it stands still."""
        return MOVING.isdisjoint(self.kinds.values())

    @property
    def doubtful(self) -> bool:
        """Whether no rank is known to get on, and one may."""
        return MOVING.intersection(self.kinds.values()) == frozenset({"changing"})

    @property
    def moving(self) -> tuple[int, ...]:
        """Ranks whose stacks show that they get on."""
        return tuple(rank for rank, found in self.kinds.items() if found == "moving")

    @property
    def paused(self) -> tuple[int, ...]:
        """Ranks at a prompt or under a debugger."""
        return tuple(rank for rank, found in self.kinds.items() if found == "paused")

    @property
    def odd(self) -> tuple[int, ...]:
        """The ranks that aren't where the others wait."""
        return odd(self.kinds)


def odd(kinds: Mapping[int, str]) -> tuple[int, ...]:
    """Return the ranks that aren't where the others wait; of those that have ended only if no other is there.

    None if all wait; nor if none does, unless it is one that the others have left. One whose stack couldn't be read
    may wait as well: it isn't one of them while another is known to be, nor if there are several.
    """
    ended, unread = (tuple(rank for rank, found in kinds.items() if found == one) for one in ("ended", "unread"))
    elsewhere = tuple(rank for rank, found in kinds.items() if found not in {"ended", "waiting", "unread"})
    if "waiting" in kinds.values():
        return elsewhere or (unread if len(unread) == 1 else () if unread else ended)
    if unread:
        return elsewhere
    return elsewhere if ended and len(elsewhere) == 1 else ()


def judge(window: Mapping[int, Sequence[Look]]) -> Verdict:
    """Return the verdict on ranks that were each seen several times."""
    kinds = {rank: kind(looks) for rank, looks in window.items()}
    kinds.update(_by_call(kinds, {rank: looks[-1].stack.process for rank, looks in window.items()}))
    places = {rank: loop(window[rank]) for rank, found in kinds.items() if found in {"changing", "looping"}}
    for rank, place in _in_store(kinds, window).items():
        kinds[rank], places[rank] = "still", place.replace(collective=False)
    for rank, found in kinds.items():
        asks = next((one.stack.place for one in reversed(window[rank]) if one.stack.place.collective), None)
        if found == "waiting" and asks is not None and asks.loop:
            places[rank] = asks
    return Verdict(kinds, places)


def _in_store(kinds: Mapping[int, str], window: Mapping[int, Sequence[Look]]) -> dict[int, Place]:
    """Return the ranks that wait for what another one puts into torch's store, while others are in a collective."""
    waiting = {rank: window[rank][-1].stack.place for rank, found in kinds.items() if found == "waiting"}
    found = {rank: place for rank, place in waiting.items() if place.operations == (IN_STORE,)}
    return found if len(found) < len(waiting) else {}


def _by_call(kinds: Mapping[int, str], processes: Mapping[int, Process | None]) -> dict[int, str]:
    """Return the ranks without a stack that are still: what they call is not what those call that wait.

    Where none is known to wait, it is not what most ranks call.
    """
    calls = {rank: process.facts.call for rank, process in processes.items() if process is not None}
    unread = {rank: calls[rank] for rank, found in kinds.items() if found == "unread"}
    waiting = {calls[rank] for rank, found in kinds.items() if found == "waiting"}
    named = list(unread.values())
    waiting = waiting or {call for call in named if named.count(call) * 2 > len(kinds)}
    return {rank: "still" for rank, call in unread.items() if waiting and call not in waiting}
