"""The checks that the ranks run together: functions of the world that return a detail or raise."""

# torch's own types are incomplete, and don't export these names, though torch's manual documents them.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import functools
import platform
import time

import torch
import torch.distributed as dist

from accel_cli.trial import training
from accel_cli.trial.record import Skipped, Wrong, expect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from accel_cli.trial.world import World

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int8", "uint8")
MODULUS = 100  # for ranks, so that they fit into every dtype
PAUSE = 0.1  # seconds by which rank 0 is late at the barrier


def every(world: World, folder: Path) -> Iterator[tuple[str, Callable[[], str | None]]]:
    """Yield each check with its name."""
    yield "ranks", functools.partial(ranks, world)
    yield "barrier", functools.partial(barrier, world)
    for device in world.devices:
        for dtype in DTYPES:
            yield f"collectives {dtype} {device.type}", functools.partial(collectives, world, device, dtype)
    for device in world.devices:
        yield f"random state {device.type}", functools.partial(random_state, world, device)
    yield "sampling", functools.partial(sampling, world)
    for precision in training.PRECISIONS:
        yield f"training {precision}", functools.partial(training.same_as_alone, world, precision)
    yield "training sharded", functools.partial(training.sharded, world)
    yield "checkpoint", functools.partial(training.checkpoint, world)
    yield "sharded checkpoint", functools.partial(training.sharded_checkpoint, world, folder / "shards")


def gathered(world: World, value: object) -> list[object]:
    """Return every rank's ``value``, by rank."""
    found: list[object] = [None] * world.size
    dist.all_gather_object(found, value)
    return found


def ranks(world: World) -> str:
    """Every rank exists once, and no two ranks of a machine share a local rank or a device.

    Ranks that each see a device of their own alone all have the local rank 0, the number of that device.
    """
    me = (world.rank, platform.node(), world.local_rank, world.place)
    everyone: list[tuple[int, str, int, str]] = gathered(world, me)  # pyright: ignore[reportAssignmentType]
    expect("ranks", [rank for rank, *_rest in everyone], list(range(world.size)))
    hosts = {host for _rank, host, _local, _place in everyone}
    for name in hosts:
        local = sorted(local for _rank, host, local, _place in everyone if host == name)
        used = [place for _rank, host, _local, place in everyone if host == name and place]
        expect(f"devices on {name}", len(set(used)), len(used))
        if any(local) or len(used) < len(local):
            expect(f"local ranks on {name}", local, list(range(len(local))))
    return f"{world.size} on {len(hosts)} {'machine' if len(hosts) == 1 else 'machines'}"


def barrier(world: World) -> None:
    """No rank leaves a barrier before the last one has reached it."""
    dist.barrier()
    if world.rank == 0:
        time.sleep(PAUSE)
    arrival = time.time()
    dist.barrier()
    departure = time.time()
    host = platform.node()
    times: list[tuple[str, float, float]] = gathered(world, (host, arrival, departure))  # pyright: ignore[reportAssignmentType]
    # The clocks of two machines can't be compared.
    local = [(arrival, departure) for name, arrival, departure in times if name == host]
    if min(departure for _arrival, departure in local) < max(arrival for arrival, _departure in local):
        raise Wrong("a rank left the barrier before the last one had reached it")


def collectives(world: World, device: torch.device, dtype: str) -> str:
    """Each collective returns the values that arithmetic gives."""
    kind: torch.dtype = getattr(torch, dtype)
    if device.type == "mps" and dtype == "float64":
        raise Skipped("this device has no float64")
    done: list[str] = []
    wrong: list[str] = []
    for name, result, wanted in _collectives(world, device, kind):
        got, right = result.cpu().tolist(), torch.tensor(wanted, dtype=kind).tolist()
        (done if got == right else wrong).append(name if got == right else f"{name}: got {got}, expected {right}")
    if wrong:  # raised only now, because the other ranks wait for this one in each of the collectives
        raise Wrong("; ".join(wrong))
    return ", ".join(done)


def _collectives(
    world: World, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[str, torch.Tensor, list[int]]]:
    size, rank = world.size, world.rank
    small = rank % MODULUS

    def filled(value: int, length: int = 3) -> torch.Tensor:
        return torch.full((length,), value, dtype=dtype, device=device)

    last = (size - 1) % MODULUS
    everyone = [other % MODULUS for other in range(size)]
    if dtype.is_floating_point or dtype.itemsize > 1:  # eight bits overflow with many ranks
        total = filled(rank % 2)
        dist.all_reduce(total)
        yield "sum", total, [size // 2] * 3
        part = filled(0, 1)
        dist.reduce_scatter_tensor(part, filled(rank % 2, size))
        yield "reduce-scatter", part, [size // 2]
    largest = filled(small)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    yield "max", largest, [max(everyone)] * 3
    sent = filled(small)
    dist.broadcast(sent, src=size - 1)
    yield "broadcast", sent, [last] * 3
    parts = [filled(0, 1) for _ in range(size)]
    dist.all_gather(parts, filled(small, 1))
    yield "gather", torch.cat(parts), everyone
    swapped = filled(0, size)
    dist.all_to_all_single(swapped, filled(small, size))
    yield "all-to-all", swapped, everyone
    if size > 1:
        got = filled(0)
        ring = [
            dist.P2POp(dist.isend, filled(small), (rank + 1) % size),
            dist.P2POp(dist.irecv, got, (rank - 1) % size),
        ]
        for work in dist.batch_isend_irecv(ring):
            work.wait()
        yield "send and receive", got, [(rank - 1) % size % MODULUS] * 3


def random_state(world: World, device: torch.device) -> None:
    """Ranks draw different numbers with their own seeds, and the same numbers from a shared state."""
    module = torch if device.type == "cpu" else torch.get_device_module(device)
    before = module.get_rng_state()
    try:
        module.manual_seed(1000 + world.rank)
        drawn = gathered(world, torch.rand(4, device=device).tolist())
        expect("different draws of different seeds", len(set(map(str, drawn))), world.size)
        state: list[torch.Tensor] = [module.get_rng_state()]
        dist.broadcast_object_list(state, src=0)
        module.set_rng_state(state[0])
        drawn = gathered(world, torch.rand(4, device=device).tolist())
        expect("different draws of one state", len(set(map(str, drawn))), 1)
    finally:
        module.set_rng_state(before)


def sampling(world: World) -> str:
    """The shards of a set that doesn't divide evenly have one length, contain every row, and depend on the epoch."""
    from torch.utils.data import DataLoader, DistributedSampler

    rows = list(range(10 * world.size + 3))
    sampler: DistributedSampler[int] = DistributedSampler(rows, world.size, world.rank, shuffle=True, seed=7)  # pyright: ignore[reportArgumentType]
    loader = DataLoader(rows, batch_size=4, sampler=sampler)  # pyright: ignore[reportArgumentType]

    def epoch(number: int) -> list[list[int]]:
        sampler.set_epoch(number)
        return gathered(world, [int(row) for batch in loader for row in batch])  # pyright: ignore[reportReturnType]

    first, second, again = epoch(0), epoch(1), epoch(0)
    each = -(-len(rows) // world.size)
    expect("rows of each rank", [len(shard) for shard in first], [each] * world.size)
    expect("rows of all ranks", sorted({row for shard in first for row in shard}), rows)
    expect("an epoch drawn again", again, first)
    if first == second:
        raise Wrong("two epochs have the same order")
    return f"{len(rows)} rows, {each} each"
