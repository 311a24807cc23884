"""How the processes of a run find each other, and how they are restarted."""

from accel_config.catalogue.hardware import Resources
from accel_config.settings.declaration import Section, setting
from accel_config.settings.paradigm import paradigm
from accel_config.settings.question import Question
from accel_config.settings.readers import Duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.values import Values

MOST_LISTED = 32
"""The most ranks to choose from in a list; with more machines the rank is typed."""

DIFFERENCES = (
    *("torch", "python", "libraries", "launcher", "script", "arguments", "settings", "devices", "driver", "limits"),
    *("clock", "variables", "all"),
)
"""The kinds of differences between machines that the launchers notice."""


def _ranks(settings: "Values") -> range:
    machines = settings[Resources].num_machines
    return range(machines if machines <= MOST_LISTED else 0)


class Rendezvous(
    Section,
    title="Several machines and restarts",
    short="machines",
    asked=lambda settings: settings.value("num_machines").value != 1,
):
    """Addresses, ports and restarts."""

    hosts: str | None = setting(
        joins=True,
        ours=True,
        common=True,
        metavar="HOSTS",
        help="Machines whose launchers this one starts over `ssh`, the main one first: names, `node[1-4]`, "
        "`user@host:port`, `host*8` for 8 ranks there, or a file of hosts. This machine may be among them.",
    )
    sync: bool = setting(
        False,
        switch=True,
        ours=True,
        help="Carry the working tree to the machines of `--hosts`: what git tracks, and other files that it doesn't "
        "ignore; without git the script's folder. Never credentials.",
    )
    sync_to: str | None = setting(
        ours=True,
        metavar="FOLDER",
        default_text="`~/.cache/accel/sync/` and a name by content",
        help="Folder on the machines to which the working tree is carried.",
    )
    sync_limit: int = setting(
        200, minimum=1, ours=True, metavar="MB", help="Largest size of the working tree that is carried."
    )
    sync_launcher: bool = setting(
        False,
        switch=True,
        ours=True,
        help="Carry this launcher to the machines of `--hosts`, which need only Python and what the ranks use.",
    )
    check_network: bool = setting(
        False,
        switch=True,
        ours=True,
        help="With `--hosts`, try the link of every pair of machines before any rank starts, and name slow ones.",
    )
    machine_rank: int | None = setting(
        minimum=0,
        common=True,
        help="Rank of this machine, from 0.",
        ask=Question(
            "What is the rank of this machine?",
            default=0,
            offered=_ranks,
            unasked=0,
        ),
    )
    main_process_ip: str | None = setting(
        metavar="HOST",
        common=True,
        help="Address of machine 0.",
        ask=Question("What is the IP address of machine 0, which hosts the main process?"),
    )
    main_process_port: int | None = setting(
        minimum=0,
        maximum=65535,
        metavar="PORT",
        default_text="0 on one machine",
        common=True,
        help="Port on machine 0 at which the ranks meet; on one machine, `0` takes a free port.",
        ask=Question("What is the port of the main process?", default=29500),
    )
    same_network: bool = setting(
        False,
        switch=True,
        help="All machines are on one network, so they meet directly at the address and port of machine 0.",
        ask=Question("Are all the machines on the same local network?", default=True),
    )
    rdzv_backend: str = setting(
        "static",
        metavar="NAME",
        help="How machines find each other: `static` (each machine has its rank set) or `c10d` "
        "(machines get ranks as they arrive).",
        ask=Question(
            "Which rendezvous backend do you want to use (static, c10d, ...)?",
            when=lambda settings: not settings[Rendezvous].same_network,
        ),
    )
    rdzv_conf: str = setting(
        "", ours=True, metavar="KEY=VALUE,...", help="Further settings of the rendezvous, separated by commas."
    )
    max_restarts: int = setting(
        0, minimum=0, ours=True, common=True, help="Number of times that all ranks are restarted after a failure."
    )
    restart_policy: str = setting(
        "judge",
        ours=True,
        metavar="POLICY",
        help="Which failures are followed by a restart: `judge` (not those that would happen again), `always`, or "
        "`never-on:EXCEPTION,...` (as `judge`, and not those).",
    )
    run_id: str | None = setting(
        ours=True,
        metavar="NAME",
        help="Name of this run, the same on each of its machines. It keeps runs apart.",
    )
    join_timeout: Duration = setting(
        Duration.read("15m"), minimum=1, ours=True, help="Time to wait for enough machines. Then the run ends."
    )
    lifeline_port: int | None = setting(
        minimum=0,
        maximum=65535,
        ours=True,
        metavar="PORT",
        default_text="main_process_port + 1",
        help="Port for heartbeats on machine 0; `0` disables them.",
    )
    lifeline_timeout: Duration = setting(
        Duration.read("30s"),
        minimum=1,
        ours=True,
        help="Time in which a failure on one machine ends the run on all machines. A machine that is "
        "silent for half of it counts as dead.",
    )
    lifeline_secret_file: str | None = setting(
        ours=True,
        metavar="FILE",
        help="File with a secret that signs the messages between launchers. It must be the same on each machine.",
    )
    allow_difference: tuple[str, ...] = setting(
        (),
        choices=DIFFERENCES,
        ours=True,
        metavar="KIND,...",
        help="What may differ between the machines: no difference of this kind is noted, and one that would end the "
        f"run is a note. {', '.join(f'`{kind}`' for kind in DIFFERENCES[:-1])}, or `all`.",
    )
    monitor_interval: Duration = setting(
        Duration.read("0.1s"),
        minimum=0,
        ours=True,
        help="Time between two checks of the ranks by torch's elastic agent.",
    )
    role: str = setting(
        "default", ours=True, metavar="NAME", help="Role of the workers. The script reads it from ROLE_NAME."
    )


class Mpi(Section, title="MPI", key="mpirun_config", asked=lambda settings: paradigm(settings).kind == "MULTI_CPU"):
    """Ranks that mpirun starts."""

    mpirun_hostfile: str | None = setting(
        metavar="FILE",
        help="Hosts to start ranks on. With a hostfile, `mpirun` (or `mpiexec`) starts them.",
        ask=Question(
            "Where is the hostfile?",
            default="~/hostfile",
            gate="Should mpirun start the processes?",
        ),
    )
    mpirun_bind_to: str | None = setting(
        key="bind-to",
        metavar="NAME",
        default_text="socket",
        help="What Open MPI binds each rank to: `socket`, `core`, `none`, and others.",
    )
    mpirun_ccl: int | None = setting(
        flag=True,
        deprecated="oneCCL's worker count isn't set here any more; export CCL_WORKER_COUNT",
        help="Has no effect.",
    )
