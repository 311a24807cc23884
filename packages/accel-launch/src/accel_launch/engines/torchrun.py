"""Several machines, or restarts: torch's own elastic agent, one on each machine, started on the ranks' interpreter.

The agent hides how a rank ended (its own status is always 1) and what it printed, so each rank starts under
`accel_launch.rank`, a file of the standard library alone, which tells our supervisor.
"""

from __future__ import annotations

import os

from accel_config.catalogue import Launcher, Rendezvous, Resources
from accel_config.wording import said

from .. import target
from ..lifeline import Lifeline, endpoint
from ..plan import Command, Plan
from ..rank import UNASKED
from . import interface, rendezvous

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import Order

LATER = 60  # seconds by which torch's own limits are later than ours
# The store that torch's agents of c10d share with the ranks outlives an attempt (torch 2.15): a rank that is quicker
# than rank 0 finds there the address that rank 0 had in the last one, and fails again. And a machine that joins later
# waits for ever for the store's own address, which they tell in the first round alone. Unshared, each round has one.
UNSHARED = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
RANK = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "rank.py")


def make(order: Order) -> Plan:
    """Plan the agent of this machine.

    Raises:
        AccelError: an address, a port or a rank is missing, or can't be.
    """
    from ..route import numeric

    python = target.interpreter(order.settings, order.host)
    if order.settings[Launcher].python is None and not order.host.ask.module("torch"):
        order.findings.here(
            f"torch isn't installed for {python}: its agent starts runs over several machines, and restarts; "
            "pip install torch"
        )
    # The agent replaces $-words by what it knows (${local_rank}), and $$ by $.
    words = [
        word.replace("$", "$$") for word in target.argv(order.settings, order.host, order.script, unbuffered=True)
    ]
    flags, named, line = _several(order) if order.laid.machines > 1 else (_one(order), {}, None)
    address = order.settings[Rendezvous].main_process_ip
    served = line is None or line.backend in rendezvous.SERVED
    if served and not order.host.environ.get("RES_OPTIONS") and (not address or numeric(address)):
        named["RES_OPTIONS"] = UNASKED
    agent = (python, "-m", "torch.distributed.run", *options(order, flags), "--no-python", python, RANK, *words)
    command = Command(agent, {**order.variables, **named})
    return Plan("torchrun", (command,), hosted=order.laid.local, lifeline=line)


def options(order: Order, more: dict[str, object]) -> tuple[str, ...]:
    """Return torchrun's own flags, and those of ``more``."""
    settings = order.settings[Rendezvous]
    found: dict[str, object] = {
        "--nproc-per-node": order.laid.local,
        "--max-restarts": settings.max_restarts,
        "--monitor-interval": settings.monitor_interval,
        "--role": settings.role,
        # Ranks write to the supervisor themselves, and without this the agent leaves a folder behind.
        "--log-dir": os.devnull,
        **more,
    }
    return tuple(f"{flag}={value}" for flag, value in found.items() if value not in (None, ""))


def _one(order: Order) -> dict[str, object]:
    """One machine: a rendezvous of its own, on a port that nobody else is given."""
    from .local import meeting_point

    order.alone()
    address, port = meeting_point(order)
    return {
        "--nnodes": 1,
        "--node-rank": 0,
        "--rdzv-backend": "static",
        "--master-addr": address,
        "--master-port": port,
        "--rdzv-conf": order.settings[Rendezvous].rdzv_conf,
    }


def _several(order: Order) -> tuple[dict[str, object], dict[str, str], Lifeline]:
    """Several machines: the address, port and rank that the settings give, which must all be there.

    Returns the agent's flags, the variables that name the interface, and what ties the launchers together.
    """
    settings, machines = order.settings[Rendezvous], order.settings[Resources].num_machines
    backend = rendezvous.backend(order)
    served = backend in rendezvous.SERVED
    address, port = rendezvous.main_address(order), rendezvous.main_port(order, served=served)
    rank = rendezvous.machine_rank(order)
    run = settings.run_id or f"accel-{port}"
    way = interface.towards(order, address)
    if served and rank == 0 and order.host.ask.elsewhere(address):
        order.findings.notes.append(
            f"{said(order.settings, 'main_process_ip')} is no address of this machine, whose machine_rank is 0: "
            "unless it is led here, the machines won't meet"
        )
    found: dict[str, object] = {
        "--nnodes": machines,
        "--node-rank": rank,
        "--rdzv-backend": backend,
        "--rdzv-id": run,
    }
    # Our own limit comes first, so that the end is ours to tell; and the main machine may come late.
    conf = dict.fromkeys(rendezvous.LIMITS.get(backend, ()), str(settings.join_timeout + LATER))
    if backend == "static":
        # The address itself, with no look-up of names in between, is what same_network asks for; it always serves.
        found["--master-addr"], found["--master-port"] = address, port
        if settings.max_restarts:
            order.findings.notes.append(
                f"{said(order.settings, 'max_restarts')} with rdzv_backend static: each machine starts its own ranks "
                "again, and attempts may go for nothing until all are there at once; --rdzv_backend c10d starts them "
                "together"
            )
    else:
        found["--rdzv-endpoint"] = endpoint(address, port)
        own = way.address if way is not None else None
        found["--local-addr"] = address if served and rank == 0 else own
    if backend == "c10d":
        conf["is_host"] = str(int(rank == 0))  # torch guesses from host names whether it is the main machine
    conf.update(dict(part.split("=", 1) for part in settings.rdzv_conf.split(",") if "=" in part))
    found["--rdzv-conf"] = ",".join(f"{name}={text}" for name, text in conf.items())
    # Where the ranks meet at one of them that a service tells, their parents look for the way to it.
    named = interface.named(order, way, later=True) if served else {}
    if backend == "c10d" and not order.host.environ.get(UNSHARED):
        named[UNSHARED] = "1"
    return found, named, _lifeline(order, (address, port), rank, run, backend)


def _lifeline(order: Order, at: tuple[str, int], rank: int, run: str, backend: str) -> Lifeline:
    address, port = at
    settings, machines = order.settings[Rendezvous], order.settings[Resources].num_machines
    own = settings.lifeline_port
    if own is None and backend not in rendezvous.SERVED:
        own = 0
        order.findings.notes.append(
            f"{said(order.settings, 'main_process_ip')} is that of {backend}: the launchers don't meet, and a "
            "failure on one machine may be noticed late on the others; where it is the main machine's as well, give "
            "--lifeline_port"
        )
    if settings.lifeline_secret_file is not None:
        _secret(order, settings.lifeline_secret_file)
    return Lifeline(
        address=address,
        meeting=port,
        port=min(port + 1, 65535) if own is None else own,
        machine=rank,
        machines=int(machines),
        least=machines.least,
        run=run,
        local=order.laid.local,
        total=order.settings[Resources].num_processes,
        backend=backend,
        timeout=settings.lifeline_timeout,
        patience=settings.join_timeout,
        secret_file=settings.lifeline_secret_file,
        restarts=settings.max_restarts,
        quiet=order.settings[Launcher].quiet,
    )


def _secret(order: Order, path: str) -> None:
    """Check that the file holds a secret."""
    name = f"lifeline_secret_file {path} ({order.settings.origin('lifeline_secret_file')})"
    whole = os.path.join(order.host.cwd, os.path.expanduser(path))
    try:
        with open(whole, "rb") as file:
            empty = not file.read(1 << 16).strip()
            others = os.fstat(file.fileno()).st_mode & 0o077
    except OSError as error:
        order.findings.here(f"{name} can't be read: {error.strerror}")
        return
    if empty:
        order.findings.here(f"{name} is empty: write a long random word into it, the same on every machine")
    elif others:
        order.findings.notes.append(f"{name} can be read by others on this machine: chmod 600 {path}")
