"""Engine ``torchrun``: torch's elastic agent, one on each machine, for several machines.

The agent hides how a rank ended (its own status is always 1) and what the rank printed. So each rank starts under
`accel_launch.ranks.parent`, which reports to the supervisor.
"""

from __future__ import annotations

import os

from accel_config.catalogue import Launcher, Rendezvous, Resources
from accel_config.showing.wording import describe
from accel_launch.engines.common import rendezvous
from accel_launch.engines.common.interface import interface_variables, route_to
from accel_launch.engines.common.meeting import meeting_point
from accel_launch.engines.common.wrapping import assignments, binding, module_command, rank_command, with_parent
from accel_launch.engines.declaration import ADDRESS, AGENT, DEBUGGING, MEETING, RANKS, Engine
from accel_launch.planning import target
from accel_launch.planning.types import Command, Plan
from accel_launch.ranks.module import AGENT as AGENT_MODULE
from accel_launch.ranks.parent import UNASKED
from accel_launch.running.lifeline import Lifeline, endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.engines.context import LaunchContext
    from accel_launch.ranks.route import Route

LATER = 60  # seconds by which torch's own time limits are longer than ours
WORD = 16  # bytes of a secret that can't be guessed
# With c10d the agents share their store with the ranks, and it outlives an attempt (torch 2.15): a rank that is
# quicker than rank 0 finds rank 0's address of the last attempt there, and fails again. And a machine that joins
# later waits forever for the store's address, which is sent in the first round alone. Unshared, each round has one.
UNSHARED = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def make(context: LaunchContext) -> Plan:
    """Plan the agent of this machine.

    Raises:
        AccelError: an address, a port or a rank is missing or isn't valid, or torch isn't installed.
    """
    from accel_launch.ranks.route import numeric

    python = target.interpreter(context.settings, context.host)
    if context.settings[Launcher].python is None and not context.host.probe.packages.has("torch"):
        from accel_config.showing.installing import command

        context.findings.refuse_locally(
            f"torch isn't installed for {python}, and its agent starts runs over several machines: "
            f"{command('torch', python=python)}"
        )
    # The agent replaces words such as ${local_rank}, and $$ by $.
    variables = dict(context.variables)
    path = {name: variables.pop(name) for name in ("PYTHONPATH",) if name in variables}
    own = ("env", *assignments(path)) if path else ()  # with DeepSpeed the current folder, where only ranks may look
    words = [word.replace("$", "$$") for word in with_parent(context, (*own, *rank_command(context)))]
    flags, more, line = _several(context) if context.layout.machines > 1 else (_one(context), {}, None)
    variables.update({**more, **binding(context)})
    address = context.settings[Rendezvous].main_process_ip
    at_main_machine = line is None or line.backend in rendezvous.AT_MAIN_MACHINE
    if at_main_machine and not context.host.environ.get("RES_OPTIONS") and (not address or numeric(address)):
        variables["RES_OPTIONS"] = UNASKED
    agent = (*module_command(context, AGENT_MODULE), *_options(context, flags), "--no-python", *words)
    command = Command(agent, variables)
    return Plan(
        "torchrun",
        (command,),
        hosted=context.layout.local,
        killer="torch's agent kills them 30 s after it",
        revivals=context.settings[Rendezvous].max_restarts if line is None else 0,
        lifeline=line,
    )


def _options(context: LaunchContext, more: dict[str, object]) -> tuple[str, ...]:
    """Return the agent's flags."""
    settings = context.settings[Rendezvous]
    flags: dict[str, object] = {
        "--nproc-per-node": context.layout.local,
        "--max-restarts": settings.max_restarts,
        "--monitor-interval": float(settings.monitor_interval),
        "--role": settings.role,
        # Ranks write to the supervisor themselves, and without this the agent leaves a folder behind.
        "--log-dir": os.devnull,
        **more,
    }
    return tuple(f"{flag}={value}" for flag, value in flags.items() if value not in (None, ""))


def _one(context: LaunchContext) -> dict[str, object]:
    """Return the agent's flags for one machine: a rendezvous of its own, on a free port."""
    context.ignore("the ranks of one machine need no rendezvous", *MEETING)
    address, port = meeting_point(context)
    return {
        "--nnodes": 1,
        "--node-rank": 0,
        "--rdzv-backend": "static",
        "--master-addr": address,
        "--master-port": port,
        "--rdzv-conf": context.settings[Rendezvous].rdzv_conf,
    }


def _several(context: LaunchContext) -> tuple[dict[str, object], dict[str, str], Lifeline]:
    """Return the agent's flags for one of several machines, its variables, and the lifeline of the launchers."""
    settings = context.settings[Rendezvous]
    backend = rendezvous.backend(context)
    at_main_machine = backend in rendezvous.AT_MAIN_MACHINE
    address = rendezvous.main_address(context)
    port = rendezvous.main_port(context, at_main_machine=at_main_machine)
    rank = rendezvous.machine_rank(context)
    run = settings.run_id or f"accel-{port}"
    way = route_to(context, address)
    if at_main_machine and rank == 0 and context.host.probe.network.is_remote(address):
        context.findings.notes.append(
            f"{describe(context.settings, 'main_process_ip')} isn't an address of this machine, whose machine_rank "
            "is 0: unless it is forwarded to this machine, the machines won't meet"
        )
    flags: dict[str, object] = {
        "--nnodes": context.settings[Resources].num_machines,
        "--node-rank": rank,
        "--rdzv-backend": backend,
        "--rdzv-id": run,
    }
    # The main machine may come late; and our own limit is reached first, so that the report is ours.
    conf = dict.fromkeys(rendezvous.LIMITS.get(backend, ()), str(int(settings.join_timeout) + LATER))
    if backend == "static":
        # The address itself, never a lookup of names in between, as same_network asks for.
        flags["--master-addr"], flags["--master-port"] = address, port
        _note_restarts(context)
    else:
        flags["--rdzv-endpoint"] = endpoint(address, port)
        own = way.address if way is not None else None
        flags["--local-addr"] = address if at_main_machine and rank == 0 else own
    if backend == "c10d":
        conf["is_host"] = str(int(rank == 0))  # torch would guess from host names whether this is the main machine
    conf.update(dict(part.split("=", 1) for part in settings.rdzv_conf.split(",") if "=" in part))
    flags["--rdzv-conf"] = ",".join(f"{name}={text}" for name, text in conf.items())
    # At a service the ranks' main machine isn't known yet, so their parents look for the route to it.
    variables = interface_variables(context, way, again=True) if at_main_machine else {}
    if backend == "c10d" and not context.host.environ.get(UNSHARED):
        variables[UNSHARED] = "1"
    return (
        flags,
        variables,
        _lifeline(context, (address, port), rank, run, backend).replace(
            listen=_listened(context, address, way) if rank == 0 else ()
        ),
    )


def _note_restarts(context: LaunchContext) -> None:
    if context.settings[Rendezvous].max_restarts:
        context.findings.notes.append(
            f"{describe(context.settings, 'max_restarts')} with rdzv_backend static: each machine restarts its own "
            "ranks, and attempts may fail until all machines have; --rdzv_backend c10d starts them together"
        )


def _lifeline(context: LaunchContext, at: tuple[str, int], rank: int, run: str, backend: str) -> Lifeline:
    address, port = at
    from accel_launch.engines.common.describing import subject

    settings, machines = context.settings[Rendezvous], context.settings[Resources].num_machines
    own = settings.lifeline_port
    if own is None and backend not in rendezvous.AT_MAIN_MACHINE:
        own = 0
        context.findings.notes.append(
            f"{describe(context.settings, 'main_process_ip')} is the address of {backend}: the launchers don't "
            "connect to each other, and a failure on one machine may be noticed late on the others; if the main "
            "machine has the same address, give --lifeline_port"
        )
    if settings.lifeline_secret_file is not None:
        _secret(context, settings.lifeline_secret_file)
    return Lifeline(
        address=address,
        meeting=port,
        port=min(port + 1, 65535) if own is None else own,
        machine=rank,
        machines=int(machines),
        least=machines.least,
        run=run,
        local=context.layout.local,
        total=context.settings[Resources].num_processes,
        backend=backend,
        timeout=float(settings.lifeline_timeout),
        patience=float(settings.join_timeout),
        secret_file=settings.lifeline_secret_file,
        restarts=settings.max_restarts,
        quiet=context.settings[Launcher].quiet,
        watched=context.settings[Launcher].stall_after > 0,
        subject=subject(context),
    )


def _listened(context: LaunchContext, address: str, way: Route | None) -> tuple[str, ...]:
    """Return the main machine's addresses by which the others can come: where no secret keeps strangers out."""
    from accel_launch.ranks.route import numeric

    network = context.host.probe.network
    if numeric(address):
        return () if network.is_remote(address) else (address,)
    return () if way is None or way.guessed else network.addresses(way.interface)


def _secret(context: LaunchContext, path: str) -> None:
    """Check that the file holds a secret."""
    described = describe(context.settings, "lifeline_secret_file")
    whole = os.path.join(context.host.cwd, os.path.expanduser(path))
    try:
        with open(whole, "rb") as file:
            size = len(file.read(1 << 16).strip())
            others = os.fstat(file.fileno()).st_mode & 0o077
    except OSError as error:
        context.findings.refuse_locally(f"{described} can't be read: {error.strerror}")
        return
    if not size:
        context.findings.refuse_locally(
            f"{described} is empty: write a long random word into it, the same on every machine"
        )
    elif size < WORD:
        context.findings.notes.append(
            f"{described} is short enough to be guessed: `openssl rand -hex 32` makes a good one"
        )
    if others:
        context.findings.notes.append(f"{described} can be read by others on this machine: chmod 600 {path}")


ENGINE = Engine(make, honors=(*RANKS, *DEBUGGING, "bind", *ADDRESS, *AGENT, "machine_rank"))
