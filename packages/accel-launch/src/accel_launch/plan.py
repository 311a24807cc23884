"""From settings and a host's facts to the list of commands that this machine starts. Nothing is started here."""

from __future__ import annotations

from accel_config.record import Record

from . import checks, engines, environment, layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.settings import Settings

    from .host import Host
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


class Plan(Record):
    """What this machine starts, and what is to be said about it."""

    engine: str
    commands: tuple[Command, ...]
    notes: tuple[str, ...] = ()
    summary: str = ""
    supervised: bool = True
    """Whether the launcher stays and looks after the commands; otherwise it becomes the one that there is."""
    grace: float = 30.0
    """Seconds between asking ranks to end and killing them."""
    request: Request | None = None
    """What is asked of a service where nothing is started on this machine."""


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
    checks.script(settings, host, script, findings)
    if away:
        variables = environment.portable(settings, laid)
    else:
        variables, said = environment.variables(settings, host, laid)
        findings.notes += said
    make = engines.load(engine)
    made = make(engines.Order(settings, host, laid, script, variables, findings))
    return made.replace(
        notes=tuple(dict.fromkeys((*settings.notes, *findings.notes))),
        summary=made.summary or _summary(settings, laid, made.engine),
        grace=settings[Launcher].grace,
    )


def _summary(settings: Settings, laid: layout.Layout, engine: str) -> str:
    from accel_config.catalogue import Precision

    ranks = "1 process" if laid.local == 1 else f"{laid.local} processes"
    where = f"on {laid.where}" if laid.machines == 1 else f"on {laid.where}, machine {laid.rank} of {laid.machines}"
    paradigm = f", {laid.kind}" if laid.kind != "NO" else ""
    file = settings.value("config_file").value
    config = f", config {file}" if file else ""
    return f"{ranks} {where}{paradigm}, precision {settings[Precision].mixed_precision}, engine {engine}{config}"
