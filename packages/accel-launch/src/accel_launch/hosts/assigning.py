"""What each machine gets: its place, its number of ranks, and the settings, each with its origin."""

from __future__ import annotations

from accel_config.catalogue import CATALOGUE, DeepSpeed, Launcher, Rendezvous, Resources, Tpu
from accel_config.catalogue.scheduler import Scheduler
from accel_config.checking.ranks import OF_RANKS
from accel_config.errors import AccelError, SettingError
from accel_config.record import Record
from accel_config.settings.origin import BUILT_IN, FILE, FLAG, Origin, Value
from accel_config.settings.paradigm import alone, paradigm
from accel_config.settings.resolved import Settings
from accel_config.settings.span import Span
from accel_config.showing.wording import describe
from accel_launch.schedulers.hostlist import MOST
from accel_launch.schedulers.precedence import reaching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accel_launch.hosts.listing import Machine

# What this launcher does itself, or has replaced by what it means for each machine.
KEPT = frozenset(
    (
        *("hosts", "sync", "sync_to", "sync_limit", "sync_launcher", "check_network"),
        *("env", "python", "config_file", "preset", "dry_run", "json", "explain", "report", "detach"),
        *("num_machines", "machine_rank", "num_processes", "nproc_per_node"),
        *(one.name for one in Scheduler.settings),
    )
)
STANDARD = "standard"
PLACES = {
    "machine_rank": "each machine gets its rank by its place in the list",
    "num_machines": "the list has the machines",
}


class Place(Record):
    """A machine's place in the run."""

    machine: Machine
    rank: int
    here: bool
    """Whether it is this machine, which needs no ssh."""
    values: Mapping[str, Value]
    """The settings that it gets, by name."""

    def data(self) -> dict[str, list[object]]:
        """Return the settings as JSON has them: the value, the text of its origin, and its layer."""
        from accel_config.writing.spelling import plain  # not where these are read

        return {
            name: [plain(CATALOGUE.by_name[name], value.value), value.origin.text, value.origin.layer]
            for name, value in self.values.items()
        }


def read(data: Mapping[str, Sequence[object]]) -> dict[str, Value]:
    """Return the settings that `Place.data` has sent.

    Raises:
        SettingError: a value isn't valid.
    """
    found: dict[str, Value] = {}
    for name, (raw, text, layer) in data.items():
        origin = Origin(str(text), layer if isinstance(layer, int) else FLAG)
        found[name] = Value(None if raw is None else CATALOGUE.by_name[name].parse(raw, origin), origin)
    return found


def refuse(settings: Settings) -> None:
    """Refuse what can't go together with ``hosts``.

    Raises:
        SettingError: something does; the message names both.
    """
    wrong = {name: "that reaches the other machines itself" for name in reaching(settings) if name != "hosts"}
    for name in ("slurm", "kubernetes", "submit"):
        if settings.value(name).value:
            wrong[name] = "a job has machines of its own"
    if settings[DeepSpeed].deepspeed_multinode_launcher not in (None, STANDARD):
        wrong["deepspeed_multinode_launcher"] = f"that starts the other machines itself; {STANDARD} doesn't"
    # Every written file has these.
    wrong |= {name: why for name, why in PLACES.items() if settings.value(name).origin.layer < FILE}
    for name, why in wrong.items():
        raise SettingError(f"{describe(settings, 'hosts', name)}: {why}; leave one of them out")


def common(settings: Settings, machines: Sequence[Machine]) -> Settings:
    """Return the settings that hold for all machines, as ``--explain`` shows them.

    Raises:
        SettingError: the numbers of ranks contradict each other.
    """
    origin, count = settings.value("hosts").origin, len(machines)
    if count > MOST:
        raise SettingError(f"{origin}: hosts lists more than {MOST} machines")
    found: dict[str, Value] = {
        "num_machines": Value(Span.of(count, count), origin),
        "no_scheduler": Value(True, origin),
    }
    found["machine_rank"] = Value(None, origin)
    if paradigm(settings).kind == "DEEPSPEED" and count > 1:
        found["deepspeed_multinode_launcher"] = Value(STANDARD, origin)
    counts = ranks(settings, machines)
    if None not in counts and not alone(settings):
        total = sum(one or 0 for one in counts)
        if settings[Resources].num_processes is None:
            found["num_processes"] = Value(total, origin)
    values = {one.name: value for one, value in settings}
    return Settings(CATALOGUE, {**values, **found}, settings.notes)


def ranks(settings: Settings, machines: Sequence[Machine]) -> list[int | None]:
    """Return the number of ranks of each machine; None for one for each device.

    Raises:
        SettingError: the numbers contradict each other.
    """
    resources = settings[Resources]
    if alone(settings):
        return [None] * len(machines)
    counts = [one.count or resources.nproc_per_node for one in machines]
    total, open_ = resources.num_processes, counts.count(None)
    if total is None:
        if 0 < open_ < len(machines):
            first = next(one for one, count in zip(machines, counts, strict=True) if count is None)
            raise SettingError(
                f"{settings.origin('hosts')}: some hosts have a number of ranks, and {first.label} has none; write "
                f"{first.label}*8, or give --nproc_per_node for the others"
            )
        return counts
    given = sum(count or 0 for count in counts)
    share, left = divmod(total - given, open_) if open_ else (0, total - given)
    if left or share < (1 if open_ else 0):
        both = describe(settings, "num_processes", "hosts")
        if not open_:
            raise SettingError(f"{both}: the list has {given} ranks in all; leave one of them out")
        if share < 1:
            raise SettingError(f"{both}: too few for each host to have one; make it {given + open_} at least")
        raise SettingError(
            f"{both}: the hosts without a number can't share {total - given} ranks evenly; make it "
            f"{given + share * open_} or {given + (share + 1) * open_}, or give each its number, such as "
            f"{machines[0].label}*2"
        )
    return [share if count is None else count for count in counts]


def places(settings: Settings, machines: Sequence[Machine], here: Sequence[bool]) -> list[Place]:
    """Return what each machine gets, of the ``common`` settings; ``here`` says which of them is this one."""
    origin, counts = settings.origin("hosts"), ranks(settings, machines)
    passed = {
        one.name: value
        for one, value in settings
        if value.origin.layer != BUILT_IN and (one.name not in KEPT or one.name == "no_scheduler")
    }
    for name in ("num_machines", "num_processes"):
        if settings.given(name):
            passed[name] = settings.value(name)
    found: list[Place] = []
    for rank, (machine, count) in enumerate(zip(machines, counts, strict=True)):
        own = dict(passed)
        if len(machines) > 1:
            own["machine_rank"] = Value(rank, Origin(f"place {rank} of {origin}", FLAG))
        elif settings.given("name") and settings.value("detach").value:  # the record here has the name itself
            name = settings.value("name")
            own["name"] = name.replace(value=f"{name.value}.machine0")
        if count is not None:
            source = f"{machine.label}*{count}" if machine.count else _source(settings)
            own["nproc_per_node"] = Value(count, Origin(source, FLAG))
        found.append(Place(machine, rank, here[rank], own))
    return found


def _source(settings: Settings) -> str:
    name = "nproc_per_node" if settings.given("nproc_per_node") else "num_processes"
    return settings.origin(name)


def variables(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for every rank everywhere: ``NAME=VALUE``, or ``NAME`` with this shell's value.

    Raises:
        SettingError: a name isn't valid, isn't set here, or is the launcher's to set.
    """
    found: dict[str, str] = {}
    origin = settings.origin("env")
    for pair in settings[Tpu].env:
        name, equals, value = pair.partition("=")
        if not name.isidentifier() or not name.isascii():
            raise SettingError(f"{origin}: {name!r} isn't a valid name of a variable; give NAME=VALUE, or NAME")
        if not equals and name not in environ:
            raise SettingError(f"{origin}: {name} isn't set in this shell; give {name}=VALUE")
        if name in OF_RANKS:
            raise SettingError(f"{origin}: each rank gets its own {name} from the launcher; leave it out")
        found[name] = value if equals else environ[name]
    return found


def python(settings: Settings, own: str) -> str:
    """Return the interpreter of the launchers and ranks: the one that is named, else this launcher's path.

    Raises:
        AccelError: it is named by a path that each machine would read differently.
    """
    named = settings[Launcher].python
    if named is not None and "/" in named and not named.startswith(("/", "~/")):
        raise AccelError(f"{describe(settings, 'python')}: write its whole path, which each machine has")
    return named or own


def limit(settings: Settings) -> float:
    """Return the seconds that a failure leaves the other machines before they are cut off."""
    return max(5.0, min(float(settings[Rendezvous].lifeline_timeout), 30.0) - 5)
