"""How the processes of a run find each other, and what restarts them."""

from ..section import Section, setting
from .hardware import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Settings

MOST_LISTED = 32
"""Ranks to choose from; one of more is typed."""


def _ranks(settings: "Settings") -> range:
    machines = settings[Resources].num_machines
    return range(machines if machines <= MOST_LISTED else 0)


class Rendezvous(
    Section,
    title="Several machines and restarts",
    asked=lambda settings: settings.value("num_machines").value != 1,
):
    """Addresses, ports and the agent that restarts ranks."""

    machine_rank: int | None = setting(
        minimum=0,
        ask="What is the rank of this machine?",
        ask_default=0,
        offered=_ranks,
        file_default=0,
        help="Rank of this machine, from 0.",
    )
    main_process_ip: str | None = setting(
        ask="What is the IP address of the machine that will host the main process?",
        help="Address of the machine of rank 0.",
    )
    main_process_port: int | None = setting(
        minimum=0,
        maximum=65535,
        ask="What is the port you will use to communicate with the main process?",
        ask_default=29500,
        help="Port at which the ranks meet, on the machine of rank 0. On one machine 0, like none, takes a free one.",
    )
    same_network: bool = setting(
        False,
        switch=True,
        ask="Are all the machines on the same local network?",
        ask_default=True,
        help="All machines are on one network: they meet at the main machine's address and port themselves.",
    )
    rdzv_backend: str = setting(
        "static",
        asked=lambda settings: not settings[Rendezvous].same_network,
        ask="What rendezvous backend will you use (static, c10d, ...)?",
        help="How machines find each other: static (ranks given here) or c10d (ranks by arrival).",
    )
    rdzv_conf: str = setting(
        "", ours=True, help="Further settings of that rendezvous: key=value pairs, separated by commas."
    )
    max_restarts: int = setting(
        0, minimum=0, ours=True, help="How often all ranks are started again after one has failed."
    )
    run_id: str | None = setting(
        ours=True,
        help="Name of this run, the same on each of its machines, so that it is never mixed with another.",
    )
    join_timeout: int = setting(
        900, minimum=1, ours=True, help="Seconds to wait until enough machines are there; then the run ends."
    )
    lifeline_port: int | None = setting(
        minimum=0,
        maximum=65535,
        ours=True,
        help="Port of the main machine at which a run's launchers tell each other that they live and what failed. "
        "Unset: the one above main_process_port. 0: they don't.",
    )
    lifeline_timeout: float = setting(
        30.0,
        minimum=1,
        ours=True,
        help="Seconds in which the run has ended on every machine after it failed on one. A machine silent "
        "for half of that is taken for dead.",
    )
    lifeline_secret_file: str | None = setting(
        ours=True,
        help="File with a secret, the same on each machine, that the launchers sign what they tell each other with.",
    )
    monitor_interval: float = setting(
        0.1, minimum=0, ours=True, help="Seconds between two looks at the ranks by torch's elastic agent."
    )
    role: str = setting("default", ours=True, help="Name of the workers' role, which the script finds in ROLE_NAME.")


class Mpi(Section, title="MPI", key="mpirun_config", asked=lambda settings: settings.paradigm.kind == "MULTI_CPU"):
    """Starting the ranks with mpirun."""

    mpirun_hostfile: str | None = setting(
        gate="Should mpirun start the processes?",
        ask="Where is the hostfile?",
        ask_default="~/hostfile",
        help="Hosts to start ranks on with mpirun. Giving it makes mpirun (or mpiexec) start them.",
    )
    mpirun_bind_to: str | None = setting(
        key="bind-to", help="What Open MPI binds each rank to (socket, core, none, ...). Unset: socket."
    )
    mpirun_ccl: int | None = setting(
        flag=True,
        deprecated="oneCCL's worker count is no longer set here: export CCL_WORKER_COUNT",
        help="Has no effect.",
    )
