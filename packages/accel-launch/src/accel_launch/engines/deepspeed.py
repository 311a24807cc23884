"""DeepSpeed's own launcher, for several machines: one command here starts the ranks everywhere.

It carries the user's words, and of the environment what its launchers choose (PATH, LD_LIBRARY..., NCCL..., ...). The
variables that we add travel among the words, in front of the program (``env NAME=text ...``): no file of them is
left anywhere, and nothing else of the environment goes along.
"""

from __future__ import annotations

from accel_config.catalogue import DeepSpeed, Launcher, Rendezvous
from accel_config.errors import AccelError
from accel_config.record import Record

from .. import target
from ..devices import VENDORS
from ..explain import quote
from ..plan import Command, Plan
from . import fleet, mpi, slurm
from .rendezvous import machine_rank, main_address, main_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from . import Order

MODULE = "deepspeed.launcher.runner"  # what the `deepspeed` command is, on the interpreter of the ranks
NOSSH_SINCE = (0, 14, 5)


class Way(Record):
    """What one of DeepSpeed's launchers does with the words it is given; read from its source, 0.19.8."""

    names: Mapping[str, str] | None = None
    """Torch's variables that it leaves unset, each with the one that its ranks have."""
    python: bool = False
    """Whether it runs them as a Python file, whatever it is told: then `accel_launch.rank` stands in front."""
    counts: bool = True
    """Whether it takes filters and counts; otherwise it starts as many ranks as the hostfile has slots."""
    ssh: bool = False
    """Whether it needs ssh; DeepSpeed tries it beforehand unless told not to."""


WAYS = {
    "pdsh": Way(ssh=True),
    "nossh": Way(),
    "openmpi": Way(mpi.OPEN.names, counts=False),
    "mvapich": Way(mpi.HYDRA.names, counts=False),
    "mpich": Way(python=True, counts=False),
    "slurm": Way(slurm.NAMES, python=True),
}


def make(order: Order) -> Plan:
    """Plan DeepSpeed's launcher.

    Raises:
        AccelError: that launcher can't do what is asked, DeepSpeed isn't installed, or the hostfile is of no use.
    """
    name = _launcher(order)
    python = target.interpreter(order.settings, order.host)
    _installed(order, python, name)
    order.unused("DeepSpeed's launcher starts the ranks", *fleet.AGENT)
    order.unused("the hostfile's slots and DeepSpeed's filters choose the devices", "gpu_ids")
    path, hosts = _hosts(order, name)
    share = _share(order, name, hosts)
    address, port = _meeting(order, name, hosts)
    if name == "mpich":
        order.findings.notes.append(
            "DeepSpeed's launcher mpich ends with 0 even where ranks fail (deepspeed 0.19.8); with --mpirun_hostfile "
            "and --engine mpi the same mpirun starts them, and a failure is told"
        )
    options = [
        *("--hostfile", path),
        *_how(order, name),
        *share,
        *(("--master_addr", address) if address else ()),
        *("--master_port", str(port)),
        "--no_local_rank",
        *(() if WAYS[name].python else ("--no_python",)),
    ]
    command = (python, "-m", MODULE, *options, *_words(order, name, address, port))
    return Plan("deepspeed", (Command(command, {}),), hosted=order.laid.local)


def _launcher(order: Order) -> str:
    name = order.settings[DeepSpeed].deepspeed_multinode_launcher or "pdsh"
    if name not in WAYS:
        origin = order.settings.origin("deepspeed_multinode_launcher")
        raise AccelError(
            f"deepspeed_multinode_launcher {name} ({origin}) is torch's own agent: leave out --engine deepspeed, or "
            f"give one of {', '.join(WAYS)}"
        )
    return name


def _installed(order: Order, python: str, name: str) -> None:
    """Refuse where DeepSpeed is missing or too old, as far as we see: another interpreter's packages we don't."""
    if order.settings[Launcher].python is not None:
        return
    machine = order.host.ask
    if not machine.module("deepspeed"):
        order.findings.here(
            f"deepspeed isn't installed for {python}, and its launcher is to start the ranks: pip install deepspeed"
        )
        return
    version = machine.version("deepspeed") or ""
    numbers = tuple(int(part) for part in version.partition("+")[0].split(".")[:3] if part.isdecimal())
    if name == "nossh" and numbers < NOSSH_SINCE:
        origin = order.settings.origin("deepspeed_multinode_launcher")
        order.findings.here(
            f"deepspeed_multinode_launcher nossh ({origin}) needs deepspeed 0.14.5; installed is "
            f"{version or 'an older one'}: pip install -U deepspeed"
        )


def _hosts(order: Order, name: str) -> tuple[str, tuple[fleet.Listed, ...]]:
    """Return the hostfile and its hosts, each with the slots that DeepSpeed insists on."""
    value = order.settings.value("deepspeed_hostfile")
    if not value.value:
        raise AccelError(
            f"num_machines is {order.laid.machines} ({order.settings.origin('num_machines')}), but DeepSpeed's "
            f"launcher {name} isn't told which they are: give --deepspeed_hostfile, with a line such as "
            "'node-1 slots=8' for each, or --deepspeed_multinode_launcher standard and start this on every machine"
        )
    path, hosts = fleet.hostfile(order, "deepspeed_hostfile")
    bare = next((host.name for host in hosts if host.slots is None), None)
    if bare is not None:
        order.findings.here(f"deepspeed_hostfile {value.value} ({value.origin}): the line of {bare} has no slots=N")
    return path, hosts


def _filter(order: Order) -> str:
    """Return the name of the filter in force, of which exclusion wins; nothing where there is none."""
    given = [
        name
        for name in ("deepspeed_exclusion_filter", "deepspeed_inclusion_filter")
        if order.settings.value(name).value
    ]
    order.unused("the exclusion filter wins", *given[1:])
    return given[0] if given else ""


def _share(order: Order, name: str, hosts: tuple[fleet.Listed, ...]) -> tuple[str, ...]:
    """Return the flags that say which hosts take part, and with how many ranks each."""
    chosen = _filter(order)
    if not chosen:
        return _counts(order, name, hosts)
    value = order.settings.value(chosen)
    if not WAYS[name].counts:
        origin = order.settings.origin("deepspeed_multinode_launcher")
        raise AccelError(
            f"{chosen} {value.value} ({value.origin}): DeepSpeed's launcher {name} ({origin}) takes no filter; write "
            "a hostfile of those hosts and slots"
        )
    order.unused("the filter decides how many ranks there are", "num_processes")
    return "--exclude" if "exclusion" in chosen else "--include", str(value.value)


def _counts(order: Order, name: str, hosts: tuple[fleet.Listed, ...]) -> tuple[str, ...]:
    laid, settings, findings = order.laid, order.settings, order.findings
    counts = WAYS[name].counts
    if spare := fleet.spare(order, "deepspeed_hostfile", hosts):
        if not counts:
            findings.here(f"{spare}: DeepSpeed's launcher {name} starts ranks on all of them; let them agree")
        findings.notes.append(f"{spare}: DeepSpeed takes the first ones")
    # For srun this would ask for GPUs (--gpus-per-node), of which a cluster of CPUs has none to give.
    told = counts and not (name == "slurm" and laid.cpu)
    wrong = next((host for host in hosts[: laid.machines] if not _fits(host, laid.local, exactly=not told)), None)
    if wrong is not None:
        value = settings.value("deepspeed_hostfile")
        findings.here(
            f"deepspeed_hostfile {value.value} ({value.origin}) gives {wrong.name} {wrong.slots} slots, but "
            f"num_processes {laid.total} ({settings.origin('num_processes')}) on {laid.machines} machines makes "
            f"{laid.local} for each: let them agree"
        )
    if not counts:
        return ()
    return ("--num_nodes", str(laid.machines), *(("--num_gpus", str(laid.local)) if told else ()))


def _fits(host: fleet.Listed, ranks: int, *, exactly: bool) -> bool:
    return host.slots is None or host.slots == ranks or (host.slots > ranks and not exactly)


def _meeting(order: Order, name: str, hosts: tuple[fleet.Listed, ...]) -> tuple[str, int]:
    """Return where the ranks meet; no address where DeepSpeed finds the first host's itself."""
    if name == "nossh":
        return main_address(order), main_port(order)
    rendezvous = order.settings[Rendezvous]
    port = rendezvous.main_process_port or order.host.ask.free_port()
    if rendezvous.main_process_ip or WAYS[name].ssh:
        return rendezvous.main_process_ip or "", port
    if _filter(order):
        raise AccelError(
            f"{_filter(order)} ({order.settings.origin(_filter(order))}) may leave out the first host, where the "
            "ranks would meet: give --main_process_ip"
        )
    return fleet.meeting(order, hosts[0].name if hosts else "127.0.0.1")


def _how(order: Order, name: str) -> tuple[str, ...]:
    """Return the flags that say what starts the ranks."""
    if name == "nossh":
        return "--no_ssh", "--node_rank", str(machine_rank(order))
    order.unused("DeepSpeed's launcher numbers the machines", "machine_rank")
    allowed = name == "openmpi" and order.host.ask.root()
    return (
        *("--launcher", name),
        # Where one host is left, DeepSpeed would start the words itself, past the launcher that they are quoted for.
        "--force_multi",
        *(() if WAYS[name].ssh else ("--no_ssh_check",)),
        *(("--launcher_args=--allow-run-as-root",) if allowed else ()),
    )


def _words(order: Order, name: str, address: str, port: int) -> tuple[str, ...]:
    """Return what DeepSpeed is to run as the user's program, quoted as this launcher needs it."""
    way = WAYS[name]
    narrowing = {variable for vendor in VENDORS for variable in vendor.variables}
    variables = {name: text for name, text in order.variables.items() if name not in narrowing}
    if way.names:
        variables.update({"MASTER_ADDR": address, "MASTER_PORT": str(port)})
    if not _filter(order):
        variables["LOCAL_WORLD_SIZE"] = str(order.laid.local)
    program = target.argv(order.settings, order.host, order.script, unbuffered=True)
    words = ("env", *fleet.assignments(variables), *fleet.named(way.names or {}, program))
    if name == "pdsh":
        return tuple(map(over_pdsh, words))
    # The interpreter DeepSpeed puts in front itself.
    return fleet.followed(order, words)[1:] if way.python else words


def over_pdsh(word: str) -> str:
    """Quote a word for DeepSpeed's pdsh launcher: the shell of the other host reads all words as one line.

    A word with a space DeepSpeed puts in double quotes itself, and hides no more than the double quotes in it; other
    words it leaves as they are. pdsh then looks for ``%``.
    """
    if " " in word:
        for letter in "\\$`":
            word = word.replace(letter, "\\" + letter)
    else:
        word = quote(word)
    return word.replace("%", "%%")
