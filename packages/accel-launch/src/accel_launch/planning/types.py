"""The plan and its parts: what this machine starts, frozen and printable."""

from __future__ import annotations

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_launch.running.lifeline import Lifeline
    from accel_launch.running.report.records import Result


class Bound(Record):
    """What one rank is bound to."""

    cpus: str = ""
    """A list such as ``0-3,8``; empty if it isn't bound."""
    threads: int = 0
    """Its own cores, for OMP_NUM_THREADS; 0 if that is set otherwise."""

    @property
    def variables(self) -> dict[str, str]:
        """The variables that follow from it."""
        return {"OMP_NUM_THREADS": str(self.threads)} if self.threads else {}


class Command(Record):
    """One process to start."""

    argv: tuple[str, ...]
    """The program and its arguments."""
    env: dict[str, str]
    """Variables to add to the launcher's own environment."""
    rank: int | None = None
    """Rank of the process in the run; None if it isn't one rank."""
    local_rank: int | None = None
    """Rank of the process on this machine."""
    device: str | None = None
    """Its device in words, such as ``GPU 0``."""
    cwd: str | None = None
    """Its working folder; None: the launcher's own."""
    cpus: str = ""
    """The CPUs that it is bound to, such as ``0-3,8``; empty: those of the launcher."""
    tooled: bool = False
    """Whether a tool of ``--wrap`` stands before the rank in ``argv``, and a shell between the two."""
    label: str = ""
    """Name of a process that isn't a rank, such as ``worker 3``: the prefix of its lines, and its name in reports."""

    def unbuffered(self) -> Command:
        """Return it with a Python that passes on its lines as they come, though nobody's terminal is there."""
        return self.replace(env={"PYTHONUNBUFFERED": "1", **self.env})


class Request:
    """A request to a service, for an engine that starts no commands here. Subclass both this and `Record`."""

    def text(self) -> str:
        """Return the request as lines of a shell script, for a dry run."""
        raise NotImplementedError

    def data(self) -> dict[str, object]:
        """Return the request for JSON."""
        raise NotImplementedError

    def run(self) -> Result:
        """Make the request and follow it to its end. A job that fails is a result, not an error.

        Raises:
            AccelError: the service can't be reached, or rejects the request.
        """
        raise NotImplementedError


class Display(Record):
    """Which output of the ranks is shown, and which is kept in files."""

    prefix: bool = False
    host: str = ""
    """The name of this machine in that prefix, where one terminal shows the output of several."""
    alive: str = ""
    """The line on standard error that answers a sign of life from another machine; empty for none."""
    shown: tuple[int, ...] | None = None
    """The local ranks whose output is shown; None: all."""
    log_dir: str | None = None
    kept: tuple[int, ...] = ()
    """For each local rank, which streams are kept in files: 1 stdout, 2 stderr, 3 both."""
    marked: tuple[int, ...] = ()
    """For each local rank, which streams have torchrun's mark before each line on the console: 1, 2 or 3 as well."""
    role: str = "default"
    name: str = "run"
    """Name of the run, for its folder of log files."""
    place: str = ""
    """Which machine or rank of the run this is, if others keep logs too, such as ``machine1``."""
    folded: bool = False
    """Whether a terminal shows a line for each traceback that another rank's failure or Ctrl-C caused."""
    announced: bool = False
    """Whether the folder of log files and the ranks' pids are printed when the ranks have started."""
    report: str | None = None
    terminals: bool = False
    """Whether the ranks get terminals though the launcher's output isn't one."""
    debugged: int | None = None
    """The rank that has the terminal for a debugger: its input, its interrupts, and lines that nobody breaks."""

    @property
    def asked(self) -> bool:
        """Whether even a single process needs a supervisor because of these settings."""
        return bool(self.prefix or self.log_dir or self.report or self.shown is not None or any(self.marked))


class Watching(Record):
    """Whether standing still is noticed, and what follows."""

    after: float = 0.0
    """Seconds without progress after which it is told; 0: never."""
    action: str = "note"
    """``note``, ``stacks`` or ``end``."""
    elsewhere: bool = False
    """Whether the run has ranks that other launchers start, or that are on other machines."""


class Restarting(Record):
    """How often the launcher itself starts all ranks again after a failure, and when."""

    most: int = 0
    policy: str = "judge"
    """What decides whether a failure is tried again; see `accel_launch.running.restarting.judge`."""
    port: int = 0
    """The port that the user has named for the ranks to meet; 0: each attempt has a free one."""


class Recording(Record):
    """The record of a run that the launcher leaves."""

    name: str = ""
    """The name that the user has given; empty: one is chosen."""
    kept: bool = True
    """Whether there is one once the run has ended."""
    age: float = 30 * 86400.0
    """Seconds after which records of ended runs are removed."""
    count: int = 200
    """How many records of ended runs are kept."""
    detached: bool = False
    """Whether the run goes on without the terminal, and the record keeps its output."""
    output: int = 100 << 20
    """Bytes of output to keep."""
    command: tuple[str, ...] = ()
    """The command line that has started the launcher; none if a program has called it."""


class Plan(Record):
    """What this machine starts, and what the launcher prints about it.

    An engine fills in ``engine``, ``commands`` and whatever else it decides; `accel_launch.plan` adds the rest:
    notes, display, grace, devices and the rank of the first process.
    """

    engine: str
    """Name of the engine that made the plan."""
    commands: tuple[Command, ...]
    """The processes to start."""
    notes: tuple[str, ...] = ()
    """Notes for the user, one line each."""
    summary: str = ""
    """One line about the run; `accel_launch.plan` writes one where the engine doesn't."""
    supervised: bool = True
    """Whether the launcher stays and supervises the commands; otherwise it becomes the only one."""
    display: Display = Display()
    """Which output is shown, and which is kept in files."""
    hosted: int = 0
    """Ranks that the only command starts on this machine, each under `accel_launch.ranks.parent`."""
    killer: str = ""
    """Who kills those ranks when they outstay a failure, and when: ``torch's agent kills them 30 s after it``."""
    revivals: int = 0
    """How often the engine itself starts all ranks again after the death of one, in a run on this machine alone."""
    first_rank: int = 0
    """Rank of local rank 0."""
    devices: tuple[str | None, ...] = ()
    """The device of each local rank, in words."""
    cpus: tuple[str, ...] = ()
    """The CPUs of each local rank, where ranks are bound."""
    grace: float = 30.0
    """Seconds between asking ranks to end and killing them."""
    watching: Watching = Watching()
    """What happens when the run stands still."""
    restarting: Restarting = Restarting()
    """Whether the commands are started again when they fail. An engine that starts each rank itself sets it."""
    recording: Recording = Recording()
    """The record of the run."""
    together: bool = True
    """Whether the commands are one job, so that a failure of one terminates the others."""
    lifeline: Lifeline | None = None
    """The connection of this launcher to those of the run's other machines."""
    request: Request | None = None
    """The request to a service, where nothing is started on this machine."""
    preload: tuple[str, ...] | None = None
    """Modules to import once, before the commands are forked. An engine sets ``()`` to allow that, else None."""
    keep_warm: float = 0.0
    """Seconds for which the process that has imported them stays after the run."""
