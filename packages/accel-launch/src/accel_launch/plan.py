"""From settings and a host's facts to the list of commands that this machine starts. Nothing is started here."""

from __future__ import annotations

from accel_config.errors import SettingError
from accel_config.origin import SCHEDULER
from accel_config.record import Record
from accel_config.wording import said

from . import checks, engines, environment, layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.settings import Settings

    from .host import Host
    from .lifeline import Lifeline
    from .report import Result


class Command(Record):
    """One process to start."""

    argv: tuple[str, ...]
    env: dict[str, str]
    """What is added to the launcher's own environment."""
    rank: int | None = None
    local_rank: int | None = None
    device: str | None = None
    cwd: str | None = None
    label: str = ""
    """What this is where it is no rank (``worker 3``): the prefix of its lines, and its name in reports."""


class Request:
    """What an engine asks of a service instead of starting commands here; it extends this and `Record`."""

    def text(self) -> str:
        """Return the request as a dry run prints it, in lines of a shell script."""
        raise NotImplementedError

    def data(self) -> dict[str, object]:
        """Return the request for JSON."""
        raise NotImplementedError

    def run(self) -> Result:
        """Make the request and see it through; a job that fails is a result.

        Raises:
            AccelError: the service can't be asked, or refuses.
        """
        raise NotImplementedError


class Display(Record):
    """What is shown and kept of the ranks' output."""

    prefix: bool = False
    shown: tuple[int, ...] | None = None
    """The local ranks whose output is shown; None: all."""
    log_dir: str | None = None
    kept: tuple[int, ...] = ()
    """For each local rank, which streams are kept in files: 1 stdout, 2 stderr, 3 both."""
    tee: bool = False
    """Whether kept streams are marked on the console with role and rank, as torchrun does."""
    role: str = "default"
    report: str | None = None

    @property
    def asked(self) -> bool:
        """Whether anything here needs a supervisor even for one process."""
        return bool(self.prefix or self.log_dir or self.report or self.shown is not None)


class Plan(Record):
    """What this machine starts, and what is to be said about it."""

    engine: str
    commands: tuple[Command, ...]
    notes: tuple[str, ...] = ()
    summary: str = ""
    supervised: bool = True
    """Whether the launcher stays and looks after the commands; otherwise it becomes the one that there is."""
    display: Display = Display()
    hosted: int = 0
    """Ranks that the one command, an engine of its own, starts here; `accel_launch.rank` lets them be followed."""
    first_rank: int = 0
    """Rank of local rank 0."""
    devices: tuple[str | None, ...] = ()
    """The device of each local rank, in words."""
    grace: float = 30.0
    """Seconds between asking ranks to end and killing them."""
    together: bool = True
    """Whether the commands are one job, so that the others are ended when one fails."""
    lifeline: Lifeline | None = None
    """What ties this launcher to those of the run's other machines."""
    request: Request | None = None
    """What is asked of a service where nothing is started on this machine."""
    preload: tuple[str, ...] | None = None
    """Modules to import once and fork the commands from; None: the engine starts them in another way."""


def plan(settings: Settings, host: Host, script: Sequence[str]) -> Plan:
    """Return the plan for running ``script`` (the script or module, then its arguments) on ``host``.

    In a dry run everything that depends on the machine is a note, never a refusal.

    Raises:
        AccelError: the settings contradict each other or can't work on this host.
    """
    from accel_config.catalogue import Launcher

    findings = checks.Findings(lenient=settings[Launcher].dry_run)
    checks.combinations(settings, findings)
    away = engines.away(settings)
    laid = layout.elsewhere(settings) if away else layout.lay_out(settings, host, findings)
    engine = engines.choose(settings, laid)
    script = tuple(script)
    checks.script(settings, host, script, findings, here=engine not in engines.REMOTE)
    checks.deepspeed_json(settings, host, findings)
    checks.arrangement(settings, host, laid, findings)
    if away:
        variables = environment.portable(settings, laid)
    else:
        variables, replaced = environment.variables(settings, host, laid)
        findings.notes += replaced
    make = engines.load(engine)
    made = make(engines.Order(settings, host, laid, script, variables, findings))
    if made.preload is None and settings[Launcher].preload:
        findings.notes.append(f"{said(settings, 'preload')} has no effect: {made.engine} starts ranks in its own way")
    shown = display(settings, laid.replace(local=max(laid.local, len(made.commands))), findings)
    return made.replace(
        notes=tuple(dict.fromkeys((*settings.notes, *findings.notes))),
        summary=made.summary or _summary(settings, laid, made),
        grace=settings[Launcher].grace,
        display=shown,
        supervised=made.supervised or shown.asked,
        first_rank=laid.rank * laid.local,
        devices=tuple(laid.device(rank) for rank in range(laid.local)),
    )


def display(settings: Settings, laid: layout.Layout, findings: checks.Findings) -> Display:
    """Return what to show and keep.

    Raises:
        SettingError: a list of ranks or streams is none.
    """
    from accel_config.catalogue import Output, Rendezvous

    output = settings[Output]
    shown = None if output.filter_ranks is None else _ranks(settings, output.filter_ranks)
    streams = _streams(settings, output.tee, laid.local)
    if output.log_dir is None and any(streams):
        findings.notes.append(f"tee {output.tee} ({settings.origin('tee')}) has no effect without --log_dir")
    if output.log_dir is not None and not settings.given("tee"):
        streams = (3,) * laid.local
    return Display(
        prefix=output.prefix,
        shown=shown,
        log_dir=output.log_dir,
        kept=streams if output.log_dir is not None else (),
        tee=settings.given("tee"),
        role=settings[Rendezvous].role,
        report=output.report,
    )


def _ranks(settings: Settings, text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise SettingError(
            f"{settings.origin('filter_ranks')}: filter_ranks must be local ranks, such as 0,4, not {text!r}"
        )
    return tuple(int(word) for word in words)


def _streams(settings: Settings, text: str, local: int) -> tuple[int, ...]:
    """Read ``3`` or ``0:1,1:3``, as torchrun does: for each local rank which of its streams."""
    found = dict.fromkeys(range(local), 0)
    for word in text.split(","):
        rank, colon, streams = word.strip().rpartition(":")
        if streams not in ("0", "1", "2", "3") or (colon and not rank.isdecimal()):
            raise SettingError(
                f"{settings.origin('tee')}: tee must be 0, 1, 2 or 3, or such by local rank (0:1,1:3), not {text!r}"
            )
        for which in [int(rank)] if colon else found:
            found[which] = int(streams)
    return tuple(found.get(rank, 0) for rank in range(local))


def _summary(settings: Settings, laid: layout.Layout, made: Plan) -> str:
    from accel_config.catalogue import Precision

    ranks = "1 process" if laid.local == 1 else f"{laid.local} processes"
    if laid.task is not None:
        ranks = f"rank {laid.task.rank} of {laid.task.total}"
    where = f"on {laid.where}"
    if laid.task is not None and laid.task.machine is None:  # which of them this is, an mpirun doesn't tell
        where += ", several machines"
    elif laid.machines > 1:
        where += f", machine {laid.rank} of {laid.machines}"
    paradigm = f", {laid.kind}" if laid.kind != "NO" else ""
    file = settings.value("config_file").value
    config = f", config {file}" if file else ""
    precision = settings[Precision].mixed_precision
    engine = f"engine {made.engine}"
    if made.preload:
        engine += f", {', '.join(made.preload)} imported once"
    return f"{ranks} {where}{paradigm}, precision {precision}, {engine}{config}{_taken(settings)}"


def _taken(settings: Settings) -> str:
    """Name what a scheduler says, each with who says it."""
    taken = [one.name for one, value in settings if value.origin.layer == SCHEDULER and value.value is not None]
    names = [name for name in taken if name != "engine"]  # which the summary has
    return f", by the scheduler: {', '.join(said(settings, name) for name in names)}" if names else ""
