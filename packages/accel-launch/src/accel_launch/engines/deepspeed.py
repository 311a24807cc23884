"""Engine ``deepspeed``: DeepSpeed's own launcher, for several machines. One command here starts the ranks everywhere.

DeepSpeed's launchers pass the user's words on, and of the environment what they choose (PATH, LD_LIBRARY..., NCCL...,
...). The variables that we add travel as words in front of the program (``env NAME=text ...``), so no file of them is
written, and nothing else of the environment is sent.
"""

from __future__ import annotations

import os
import sys

from accel_config.catalogue import DeepSpeed, Launcher, Rendezvous
from accel_config.errors import AccelError
from accel_config.record import Record
from accel_config.showing.wording import describe
from accel_launch.engines.common.hostfile import extra_hosts, read_hostfile
from accel_launch.engines.common.meeting import meeting_point
from accel_launch.engines.common.rendezvous import machine_rank, main_address, main_port
from accel_launch.engines.common.wrapping import (
    PARENT,
    assignments,
    module_command,
    rank_command,
    refuse_slices,
    with_parent,
    with_torch_variables,
)
from accel_launch.engines.declaration import ADDRESS, RANKS, Engine
from accel_launch.machine.devices import VENDORS
from accel_launch.planning import target
from accel_launch.planning.quoting import quote
from accel_launch.planning.types import Command, Plan
from accel_launch.schedulers.mpi import families
from accel_launch.schedulers.slurm import RANK_VARIABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from accel_launch.engines.common.hostfile import ListedHost
    from accel_launch.engines.context import LaunchContext

MODULE = "deepspeed.launcher.runner"  # the module of the `deepspeed` command
SAFE_PATH = "PYTHONSAFEPATH"
NOSSH_SINCE = (0, 14, 5)
FILTERS = ("deepspeed_exclusion_filter", "deepspeed_inclusion_filter")  # the first one given wins


class Way(Record):
    """What one of DeepSpeed's launchers does with the words it is given; read from its source, 0.19.8."""

    names: Mapping[str, str] | None = None
    """Torch's variables that it leaves unset, each with its own."""
    python: bool = False
    """Whether it always runs them as a Python file: then `accel_launch.ranks.parent` is that file."""
    counts: bool = True
    """Whether it takes filters and counts; otherwise it starts as many ranks as the hostfile has slots."""
    ssh: bool = False
    """Whether it needs ssh. DeepSpeed tests ssh first, unless a flag says not to."""


WAYS = {
    "pdsh": Way(ssh=True),
    "nossh": Way(),
    "openmpi": Way(families.OPEN.names, counts=False),
    "mvapich": Way(families.HYDRA.names, counts=False),
    "mpich": Way(python=True, counts=False),
    "slurm": Way(RANK_VARIABLES, python=True),
}


def make(context: LaunchContext) -> Plan:
    """Plan DeepSpeed's launcher.

    Raises:
        AccelError: that launcher can't do what is asked, DeepSpeed isn't installed, or the hostfile doesn't fit.
    """
    refuse_slices(context, "the machines that DeepSpeed uses")
    name = _launcher(context)
    _installed(context, target.interpreter(context.settings, context.host), name)
    path, hosts = _hosts(context)
    share = _share(context, name, hosts)
    address, port = _meeting_point(context, name, hosts)
    if name == "mpich":
        context.findings.notes.append(
            "DeepSpeed's launcher mpich ends with status 0 even if ranks fail (deepspeed 0.19.8), so only a failure "
            "on this machine is noticed; with --mpirun_hostfile and --engine mpi the same mpirun starts them, and "
            "every failure is reported"
        )
    options = [
        *("--hostfile", path),
        *_starter(context, name),
        *share,
        *(("--master_addr", address) if address else ()),
        *("--master_port", str(port)),
        "--no_local_rank",
        *(() if WAYS[name].python else ("--no_python",)),
    ]
    _note_hidden(context)
    words = _words(context, name, address, port)
    command = Command((*module_command(context, MODULE), *options, *words), _safe_path(context))
    killer = "DeepSpeed kills them one after the other, each 30 s after it was asked to end"
    return Plan("deepspeed", (command,), hosted=context.layout.local, killer=killer)


def _safe_path(context: LaunchContext) -> dict[str, str]:
    """Return the variable that keeps Python from the current folder, for the launchers that DeepSpeed starts itself.

    DeepSpeed sends it to other hosts, and removing it again is the first word of the program; see `_words`.
    """
    return {} if context.host.environ.get(SAFE_PATH) else {SAFE_PATH: "1"}


def _note_hidden(context: LaunchContext) -> None:
    """Note files that Python's own modules are hidden by: DeepSpeed itself puts the folder first on PYTHONPATH."""
    try:
        names = sorted(os.listdir(context.host.cwd))
    except OSError:
        return
    hiding = [name for name in names if name.endswith(".py") and name[:-3] in sys.stdlib_module_names]
    if hiding:
        context.findings.notes.append(
            f"{hiding[0]} in the current folder hides Python's module of that name: DeepSpeed puts the folder on "
            "PYTHONPATH for its launchers on other hosts; rename it, or start from another folder"
        )


def _launcher(context: LaunchContext) -> str:
    name = context.settings[DeepSpeed].deepspeed_multinode_launcher or "pdsh"
    if name not in WAYS:
        raise AccelError(
            f"{describe(context.settings, 'deepspeed_multinode_launcher')} is torch's own agent: leave out --engine "
            f"deepspeed, or give one of {', '.join(WAYS)}"
        )
    return name


def _installed(context: LaunchContext, python: str, name: str) -> None:
    """Check that DeepSpeed is installed and new enough. The packages of another interpreter aren't known here."""
    if context.settings[Launcher].python is not None:
        return
    from accel_config.showing.installing import command

    probe = context.host.probe
    if not probe.packages.has("deepspeed"):
        context.findings.refuse_locally(
            f"deepspeed isn't installed for {python}, and its launcher is to start the ranks: "
            f"{command('deepspeed', python=python)}"
        )
        return
    version = probe.packages.version("deepspeed") or ""
    numbers = tuple(int(part) for part in version.partition("+")[0].split(".")[:3] if part.isdecimal())
    if name == "nossh" and numbers < NOSSH_SINCE:
        context.findings.refuse_locally(
            f"{describe(context.settings, 'deepspeed_multinode_launcher')} needs deepspeed 0.14.5; installed is "
            f"{version or 'an older one'}: {command('deepspeed', python=python, upgrade=True)}"
        )


def _hosts(context: LaunchContext) -> tuple[str, tuple[ListedHost, ...]]:
    """Return the hostfile and its hosts, each with the slots that DeepSpeed requires."""
    if not context.settings[DeepSpeed].deepspeed_hostfile:
        raise AccelError(
            f"num_machines is {context.layout.machines} ({context.settings.origin('num_machines')}), but "
            "deepspeed_hostfile isn't set, the list of them: give --deepspeed_hostfile, with a line such as "
            "'node-1 slots=8' for each, or --deepspeed_multinode_launcher standard and start this on every machine"
        )
    path, hosts = read_hostfile(context, "deepspeed_hostfile")
    bare = next((host.name for host in hosts if host.slots is None), None)
    if bare is not None:
        context.findings.refuse_locally(
            f"{describe(context.settings, 'deepspeed_hostfile')}: the line of {bare} has no slots=N"
        )
    return path, hosts


def _filter(context: LaunchContext) -> str:
    """Return the name of the filter in force, or nothing."""
    given = [name for name in FILTERS if context.settings.value(name).value]
    context.ignore("the exclusion filter wins", *given[1:])
    return given[0] if given else ""


def _share(context: LaunchContext, name: str, hosts: tuple[ListedHost, ...]) -> tuple[str, ...]:
    """Return the flags for which hosts take part, and with how many ranks each."""
    chosen = _filter(context)
    if not chosen:
        return _counts(context, name, hosts)
    if not WAYS[name].counts:
        origin = context.settings.origin("deepspeed_multinode_launcher")
        raise AccelError(
            f"{describe(context.settings, chosen)}: DeepSpeed's launcher {name} ({origin}) takes no filter; write "
            "a hostfile of those hosts and slots"
        )
    context.ignore("the filter decides how many ranks there are", "num_processes")
    return "--exclude" if chosen == FILTERS[0] else "--include", str(context.settings.value(chosen).value)


def _counts(context: LaunchContext, name: str, hosts: tuple[ListedHost, ...]) -> tuple[str, ...]:
    """Return the flags for the numbers of hosts and ranks; check the hostfile against them."""
    layout, settings, findings = context.layout, context.settings, context.findings
    counts = WAYS[name].counts
    if extra := extra_hosts(context, "deepspeed_hostfile", hosts):
        if not counts:
            findings.refuse_locally(
                f"{extra}: DeepSpeed's launcher {name} starts ranks on all of them; make them agree"
            )
        findings.notes.append(f"{extra}: DeepSpeed uses the first of them")
    # srun would get GPUs requested (--gpus-per-node), which a cluster of CPUs doesn't have.
    flagged = counts and not (name == "slurm" and layout.cpu)
    wrong = next(
        (host for host in hosts[: layout.machines] if not _fits(host, layout.local, exactly=not flagged)), None
    )
    if wrong is not None:
        findings.refuse_locally(
            f"{describe(settings, 'deepspeed_hostfile')} gives {wrong.name} {wrong.slots} slots, but "
            f"num_processes {layout.total} ({settings.origin('num_processes')}) on {layout.machines} machines makes "
            f"{layout.local} for each: make them agree"
        )
    if not counts:
        return ()
    return ("--num_nodes", str(layout.machines), *(("--num_gpus", str(layout.local)) if flagged else ()))


def _fits(host: ListedHost, ranks: int, *, exactly: bool) -> bool:
    return host.slots is None or host.slots == ranks or (host.slots > ranks and not exactly)


def _meeting_point(context: LaunchContext, name: str, hosts: tuple[ListedHost, ...]) -> tuple[str, int]:
    """Return where the ranks meet; no address if DeepSpeed finds that of the first host itself."""
    if name == "nossh":
        return main_address(context), main_port(context)
    rendezvous = context.settings[Rendezvous]
    port = rendezvous.main_process_port or context.host.probe.ports.free()
    if rendezvous.main_process_ip or WAYS[name].ssh:
        return rendezvous.main_process_ip or "", port
    if chosen := _filter(context):
        raise AccelError(
            f"{describe(context.settings, chosen)} may leave out the first host, where the ranks would meet: give "
            "--main_process_ip"
        )
    return meeting_point(context, hosts[0].name if hosts else "127.0.0.1")


def _starter(context: LaunchContext, name: str) -> tuple[str, ...]:
    """Return the flags for what starts the ranks."""
    if name == "nossh":
        return "--no_ssh", "--node_rank", str(machine_rank(context))
    context.ignore("DeepSpeed's launcher numbers the machines", "machine_rank")
    root = name == "openmpi" and context.host.probe.programs.as_root()
    return (
        *("--launcher", name),
        # If one host is left, DeepSpeed would start the words itself, without the launcher that they are quoted for.
        "--force_multi",
        *(() if WAYS[name].ssh else ("--no_ssh_check",)),
        *(("--launcher_args=--allow-run-as-root",) if root else ()),
    )


def _words(context: LaunchContext, name: str, address: str, port: int) -> tuple[str, ...]:
    """Return the words that DeepSpeed runs as the user's program, quoted as this launcher needs it."""
    way = WAYS[name]
    narrowing = {variable for vendor in VENDORS for variable in vendor.variables}
    variables = {name: text for name, text in context.variables.items() if name not in narrowing}
    if way.names:
        variables.update({"MASTER_ADDR": address, "MASTER_PORT": str(port)})
    if not _filter(context):
        variables["LOCAL_WORLD_SIZE"] = str(context.layout.local)
    unset = [word for variable in _safe_path(context) for word in ("-u", variable)]
    own = with_parent(context, rank_command(context)) if context.selects else rank_command(context)
    words = ("env", *unset, *assignments(variables), *with_torch_variables(way.names or {}, own))
    if name == "pdsh":
        return tuple(map(over_pdsh, words))
    # DeepSpeed puts the interpreter in front itself.
    return (PARENT, *words) if way.python else words


def over_pdsh(word: str) -> str:
    """Quote a word for DeepSpeed's pdsh launcher: the shell of the other host reads all words as one line.

    DeepSpeed itself puts a word with a space in double quotes, and escapes only the double quotes in it. It leaves
    other words as they are. pdsh then replaces ``%`` and a letter.
    """
    if " " in word:
        for letter in "\\$`":
            word = word.replace(letter, "\\" + letter)
    else:
        word = quote(word)
    return word.replace("%", "%%")


ENGINE = Engine(
    make,
    honors=(*RANKS, "bind", *ADDRESS, "machine_rank", "deepspeed_hostfile", *FILTERS),
    unbound=lambda _context: "the CPUs of the machines that DeepSpeed uses aren't known here; leave it out",
    ignores={"the hostfile's slots and DeepSpeed's filters choose the devices": ("gpu_ids",)},
)
