"""Which CPUs each local rank is bound to: those near its device, or its share of those that the launcher may use.

Each rank has a share of the cores, never of a core's hardware threads. ``cores`` is this share; ``numa`` and ``socket``
widen it to whole nodes and sockets.
"""

from __future__ import annotations

from accel_config.catalogue import Resources
from accel_config.catalogue.hardware import binding
from accel_config.settings.readers import natural
from accel_config.showing.wording import describe
from accel_launch.planning.types import Bound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_config.settings.resolved import Settings
    from accel_launch.engines.context import LaunchContext
    from accel_launch.engines.declaration import Engine
    from accel_launch.machine.topology import Core, Topology
    from accel_launch.planning.findings import Findings
    from accel_launch.planning.layout import Layout

    Cores = tuple[Core, ...]

WIDER: dict[str, Callable[[Core], int]] = {"numa": lambda core: core.node, "socket": lambda core: core.socket}
BY_SCHEDULER = "the scheduler that started the ranks binds them (srun --cpu-bind, mpirun --bind-to)"


def bound(context: LaunchContext, engine: Engine) -> tuple[Bound, ...]:
    """Return what each local rank is bound to; nothing where none is.

    Raises:
        AccelError: `bind` is set, and the engine or this machine can't do it. `enable_cpu_affinity` is only a wish.
    """
    settings, layout, findings = context.settings, context.layout, context.findings
    how, name = binding(settings)
    if how == "none" or "bind" not in engine.honors:
        return ()
    given = describe(settings, name)
    topology = context.host.probe.topology()
    cores = topology.cores
    why = "" if cores else "only Linux binds processes to CPUs; leave it out"
    if cores and engine.unbound:
        why = engine.unbound(context)
    if why:
        if name == "bind":
            findings.refuse_locally(f"{given}: {why}")
        return ()
    if how in WIDER or how == "cores":
        shares = _of_task(how, layout, topology, findings) if layout.task else _shares(given, layout, topology, findings)
        chosen = [_widened(how, share, cores) for share in shares]
    else:
        chosen = shares = _listed(settings, layout, cores, findings)
    threads = _threads(context, len(cores))
    return tuple(
        Bound(_text(cores), min(threads, len(share))) for cores, share in zip(chosen, shares, strict=True)
    )


def _text(cores: Sequence[Core]) -> str:
    from accel_launch.inspecting.groups import spans

    return spans(sorted(cpu for core in cores for cpu in core.cpus)).replace(" ", "")


def _threads(context: LaunchContext, cores: int) -> int:
    """Return the most threads of a rank: the quota of CPU time may allow fewer than cores; 0 if the user decides."""
    usual = natural(context.variables.get("OMP_NUM_THREADS", "")) or 0  # an equal share; not set if the user's own is
    if context.settings[Resources].num_cpu_threads_per_process:
        return 0
    within_quota = usual and context.layout.task is None and context.host.cores >= cores
    return cores if within_quota else usual


def _widened(how: str, share: Cores, cores: Cores) -> Cores:
    """Return the cores of each node, or socket, that the share is on."""
    if how not in WIDER:
        return share
    places = {WIDER[how](core) for core in share}
    return tuple(core for core in cores if WIDER[how](core) in places)


def _split(cores: Cores, ranks: int) -> list[Cores]:
    """Return an equal share for each rank; several ranks share a core if there are more of them."""
    starts = [rank * len(cores) // ranks for rank in range(ranks + 1)]
    return [cores[start : max(end, start + 1)] for start, end in zip(starts, starts[1:], strict=False)]


def _shares(given: str, layout: Layout, topology: Topology, findings: Findings) -> list[Cores]:
    """Return the cores of each local rank: of those near its device, or of all."""
    cores = topology.cores
    if len({(core.node, core.socket) for core in cores}) > 1 and len(layout.devices) >= layout.local:
        places = [_near(topology, layout, rank) for rank in range(layout.local)]
        why = next((f"where {layout.device(rank)} is isn't known" for rank, place in enumerate(places) if not place), "")
        crowded = next((rank for rank, place in enumerate(places) if len(place) < places.count(place)), None)
        if not why and crowded is not None:
            near = len(places[crowded])
            why = f"only {near} of the cores near {layout.device(crowded)} may be used, too few for its ranks"
        if not why:
            shares = {place: iter(_split(place, places.count(place))) for place in places}
            return [next(shares[place]) for place in places]
        findings.notes.append(f"{given}: {why}, so the ranks share all cores evenly")
    if len(cores) < layout.local:
        findings.notes.append(f"{given}: ranks share cores, since {layout.local} ranks have {len(cores)} cores")
    return _split(cores, layout.local)


def _near(topology: Topology, layout: Layout, place: int) -> Cores:
    cpus = topology.near(layout.devices[place].pci)
    return tuple(core for core in topology.cores if core.cpus & cpus)


def _of_task(how: str, layout: Layout, topology: Topology, findings: Findings) -> list[Cores]:
    """Return the cores near the device of a rank that a scheduler started: of those that the scheduler has left it."""
    task = layout.task
    own = 0 if len(layout.devices) == 1 or task is None else task.local_rank
    near = _near(topology, layout, own) if how in WIDER and own < len(layout.devices) else ()
    if not near:
        findings.ignored["bind"] = BY_SCHEDULER
    return [near] * layout.local if near else []


def _listed(settings: Settings, layout: Layout, cores: Cores, findings: Findings) -> list[Cores]:
    """Return the cores of each local rank with the CPUs that the setting lists for it."""
    from accel_config.checking.binding import lists

    wanted, given = lists(settings), describe(settings, "bind")
    if len(wanted) != layout.local:
        ranks = "1 local rank" if layout.local == 1 else f"{layout.local} local ranks"
        findings.refuse_locally(f"{given} has {len(wanted)} lists of CPUs for {ranks}; a slash stands between two")
        return []
    usable = {cpu for core in cores for cpu in core.cpus}
    absent = next((part - usable for part in wanted if part - usable), None)
    if absent:
        from accel_launch.inspecting.groups import spans

        findings.refuse_locally(f"{given}: this process may only use the CPUs {spans(sorted(usable))}")
        return []
    return [
        tuple(core.replace(cpus=core.cpus & part) for core in cores if core.cpus & part) for part in wanted
    ]
