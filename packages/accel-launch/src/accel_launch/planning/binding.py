"""Which CPUs each local rank is bound to: those near its device, or its share of those that the launcher may use.

Each rank has a share of the cores, whose hardware threads stay together. ``cores`` is this share; ``numa`` and
``socket`` widen it to whole nodes and sockets.
"""

from __future__ import annotations

from accel_config.catalogue import Resources
from accel_config.catalogue.hardware import binding
from accel_config.settings.readers import natural
from accel_config.showing.wording import describe
from accel_launch.inspecting.groups import spans
from accel_launch.planning.types import Bound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from accel_launch.engines.context import LaunchContext
    from accel_launch.engines.declaration import Engine
    from accel_launch.machine.topology import Core, Topology

    Cores = tuple[Core, ...]

PLACES: dict[str, Callable[[Core], int]] = {"numa": lambda core: core.node, "socket": lambda core: core.socket}
"""What a share is widened to the whole of."""
BY_SCHEDULER = "the scheduler that started the ranks binds them (srun --cpu-bind, mpirun --bind-to)"


def bound(context: LaunchContext, engine: Engine) -> tuple[Bound, ...]:
    """Return what each local rank is bound to; nothing where none is.

    Raises:
        AccelError: `bind` is set, and the engine or this machine can't do it. `enable_cpu_affinity` is only a wish.
    """
    how, name = binding(context.settings)
    if how == "none" or "bind" not in engine.honors:
        return ()
    topology = context.host.probe.topology()
    if not topology.cores:
        why = "only Linux binds processes to CPUs; leave it out"
    else:
        why = engine.unbound(context) if engine.unbound else ""
    if why:
        if name == "bind":
            context.findings.refuse_locally(f"{describe(context.settings, 'bind')}: {why}")
        elif not topology.cores:
            context.findings.notes.append(f"{describe(context.settings, name)} has no effect: {why}")
        return ()
    if how != "cores" and how not in PLACES:
        chosen = shares = _listed(context, topology.cores)
    else:
        shares = _shares(context, topology) if context.layout.task is None else _of_task(context, topology)
        chosen = [_widened(how, share, topology.cores) for share in shares]
    most = _threads(context, len(topology.cores))
    return tuple(Bound(_text(wide), min(most, len(share))) for wide, share in zip(chosen, shares, strict=True))


def _text(cores: Cores) -> str:
    return spans(sorted(cpu for core in cores for cpu in core.cpus)).replace(" ", "")


def _threads(context: LaunchContext, cores: int) -> int:
    """Return the most threads of a rank: a quota of CPU time may allow few; 0 if the user decides."""
    if context.settings[Resources].num_cpu_threads_per_process:
        return 0
    usual = natural(context.variables.get("OMP_NUM_THREADS", "")) or 0  # not set where the user's own variable is
    limited = context.layout.task is not None or context.host.cores < cores
    return usual if limited or not usual else cores


def _widened(how: str, share: Cores, cores: Cores) -> Cores:
    if how not in PLACES:
        return share
    places = set(map(PLACES[how], share))
    return tuple(core for core in cores if PLACES[how](core) in places)


def _shares(context: LaunchContext, topology: Topology) -> list[Cores]:
    """Return the cores of each local rank: of those near its device, or of all."""
    layout, cores = context.layout, topology.cores
    given = describe(context.settings, binding(context.settings)[1])
    if len({(core.node, core.socket) for core in cores}) > 1 and len(layout.devices) >= layout.local:
        near = [_near(context, topology, rank) for rank in range(layout.local)]
        lacking = next(filter(None, (_lacking(context, near, rank) for rank in range(layout.local))), "")
        if not lacking:
            shares = {place: iter(_split(place, near.count(place))) for place in near}
            return [next(shares[place]) for place in near]
        context.findings.notes.append(f"{given}: {lacking}, so the ranks share all cores evenly")
    if len(cores) < layout.local:
        context.findings.notes.append(
            f"{given}: some ranks share a core: {layout.local} ranks have {len(cores)} core{'s' * (len(cores) > 1)}"
        )
    return _split(cores, layout.local)


def _split(cores: Cores, ranks: int) -> list[Cores]:
    """Return an equal share for each rank; several ranks share a core if there are more of them."""
    starts = [rank * len(cores) // ranks for rank in range(ranks + 1)]
    return [cores[start : max(starts[rank + 1], start + 1)] for rank, start in enumerate(starts[:-1])]


def _near(context: LaunchContext, topology: Topology, place: int) -> Cores:
    """Return the cores near a device of the layout; none if there is no such device or its place isn't known."""
    devices = context.layout.devices
    cpus = topology.near(devices[place].pci) if place < len(devices) else frozenset[int]()
    return tuple(core for core in topology.cores if core.cpus & cpus)


def _lacking(context: LaunchContext, near: list[Cores], rank: int) -> str:
    """Return why a rank can't have a share of the cores near its device."""
    own, device = near[rank], context.layout.device(rank)
    if not own:
        return f"no core that may be used is known to be near {device}"
    few = len(own) < near.count(own)
    return f"too few cores near {device} may be used ({len(own)} for {near.count(own)} ranks)" if few else ""


def _of_task(context: LaunchContext, topology: Topology) -> list[Cores]:
    """Return the cores near the device of a rank that a scheduler started, among those that it has given the rank."""
    layout, task = context.layout, context.layout.task
    own = 0 if len(layout.devices) == 1 or task is None else task.local_rank
    near = _near(context, topology, own) if binding(context.settings)[0] in PLACES else ()
    if not near:
        context.ignore(BY_SCHEDULER, "bind")
    return [near] * layout.local if near else []


def _listed(context: LaunchContext, cores: Cores) -> list[Cores]:
    """Return the cores of each local rank with the CPUs that the setting lists for it."""
    from accel_config.checking.binding import lists

    local, wanted = context.layout.local, lists(context.settings)
    usable = {cpu for core in cores for cpu in core.cpus}
    why = ""
    if len(wanted) != local:
        why = f"expected a list for each local rank ({local}), got {len(wanted)}; a slash stands between two"
    elif any(cpus - usable for cpus in wanted):
        why = f"this process may only use CPU{'s' * (len(usable) > 1)} {spans(sorted(usable))}"
    if why:
        context.findings.refuse_locally(f"{describe(context.settings, 'bind')}: {why}")
        return []
    return [tuple(core.replace(cpus=core.cpus & cpus) for core in cores if core.cpus & cpus) for cpus in wanted]
