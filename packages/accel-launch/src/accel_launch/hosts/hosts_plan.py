"""A run on the machines of ``--hosts``: what each gets, then all of it from connecting to the result."""

from __future__ import annotations

import os

from accel_config.catalogue import Launcher, Output, Rendezvous
from accel_config.errors import AccelError
from accel_config.front import tell
from accel_config.settings.origin import FLAG
from accel_config.showing.masking import environment
from accel_launch.hosts import assigning, listing
from accel_launch.planning import checks
from accel_launch.planning.findings import Findings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_config.settings.resolved import Settings
    from accel_launch.hosts.carrying.tree import Tree
    from accel_launch.hosts.gathering import Crew
    from accel_launch.machine.host import Host
    from accel_launch.planning.types import Plan
    from accel_launch.running.caller import Caller
    from accel_launch.running.onlookers.registry.folder import Folder
    from accel_launch.running.report.records import Result

LOOPBACK = "127.0.0.1"
LOCAL_NAMES = ("localhost", LOOPBACK, "::1")


class HostsPlan:
    """What each machine gets; nothing is started yet."""

    def __init__(self, settings: Settings, host: Host, script: Sequence[str]) -> None:
        """Plan it.

        Raises:
            AccelError: it can't work as asked for.
        """
        assigning.refuse(settings)
        _refuse_second_host(settings, host, script)
        machines = listing.machines(settings, host.cwd)
        self.settings, self.host, self.script = assigning.common(settings, machines), host, tuple(script)
        self.findings = Findings(lenient=settings[Launcher].dry_run)
        checks.combinations(self.settings, self.findings)
        self.variables = assigning.variables(settings, host.environ)
        if settings[Output].detach:
            self.variables = {"PYTHONUNBUFFERED": "1", **self.variables}
        self.python = assigning.python(settings, host.python)
        self.places = assigning.places(self.settings, machines, [is_here(one, host) for one in machines])
        if settings[Output].report:
            from accel_launch.planning.checks import report

            report.check(settings, self.findings, logs=any(place.here for place in self.places))
        self.code, self.launcher = self._carried()

    def _carried(self) -> tuple[Tree | None, Tree | None]:
        """Return what is carried to machines other than this one: the code, and the launcher."""
        asked = self.settings[Rendezvous]
        sync = asked.sync or asked.sync_to is not None
        if not (sync or asked.sync_launcher) or all(place.here for place in self.places):
            return None, None
        from accel_launch.hosts.carrying import tree

        code = tree.code(self.settings, self.host.cwd, self.script) if sync else None
        self.findings.notes += code.notes if code is not None else ()
        return code, tree.launcher() if asked.sync_launcher else None

    @property
    def several(self) -> bool:
        """Whether the machines have to meet."""
        return len(self.places) > 1

    def run(
        self,
        stdout: int = 1,
        *,
        recorded: Plan | None = None,
        caller: Caller | None = None,
        folder: Folder | None = None,
        started: Callable[[], None] = lambda: None,
    ) -> Result:
        """Run it to the end, with the ranks' output at the descriptor ``stdout``, or for the ``caller``.

        A run that is ``recorded`` has a ``folder``; ``started`` is called when its ranks start.

        Raises:
            AccelError: a machine can't take part; no rank was started.
        """
        if not self.script:
            raise AccelError("no script; give one after the flags: accelerate launch --hosts a,b train.py")
        from accel_launch.hosts.following import Run
        from accel_launch.hosts.gathering import Crew
        from accel_launch.planning.types import Display
        from accel_launch.running.output.router import OutputRouter
        from accel_launch.running.process import take_secret

        secret = take_secret() or os.urandom(32).hex()
        crew = Crew(OutputRouter(Display(), caller, stdout=stdout), self.python)
        code = self.code
        crew.call(self.places, self.host.cwd, self.launcher, sync=code is not None)
        carried = crew.carry(code) if code is not None else ()
        meeting = self._meeting(crew) if self.several else {}
        own = "" if self.settings[Rendezvous].lifeline_secret_file else secret
        crew.plan(
            lambda link: {
                "settings": {**link.place.data(), **meeting},
                "notes": list(self.settings.notes),
                "env": self.variables,
                "secret": own if len(self.places) > 1 else "",
                "script": list(self.script if code is None or link.place.here else code.script),
                "rank": link.place.rank,
                "label": link.name,
            }
        )
        if not self.settings[Launcher].quiet:
            self._announce(crew, carried)
        network = self._check_network(crew, meeting)
        off = self.settings[Rendezvous].lifeline_port == 0
        grace = float(self.settings[Launcher].grace)
        run = Run(crew, limit=assigning.limit(self.settings), grace=grace, alone=off)
        if recorded is not None:
            from accel_launch.running.onlookers.registry.record.recorder import Recorder

            run.record = Recorder(recorded.replace(hosted=crew.ranks, summary=crew.summary), None, folder)
        return run.follow(started).replace(network=network)

    def _check_network(self, crew: Crew, meeting: dict[str, list[object]]) -> tuple[dict[str, object], ...]:
        """Try the links between the machines if that is asked for; return what was measured."""
        rendezvous = self.settings[Rendezvous]
        if not (self.several and rendezvous.check_network):
            return ()
        from accel_launch.hosts.network.telling import tried

        return tried(crew, self.settings, str(meeting.get("main_process_ip", [rendezvous.main_process_ip])[0]))

    def _meeting(self, crew: Crew) -> dict[str, list[object]]:
        """Return where the machines meet, as far as the user hasn't named it."""
        main, found = crew.links[0], dict[str, list[object]]()
        if not self.settings[Rendezvous].main_process_ip:
            address, origin = self._address(crew)
            found["main_process_ip"] = [address, origin, FLAG]
        if not self.settings[Rendezvous].main_process_port:
            port = main.said["ready"].get("port")
            if not port:
                raise AccelError(f"{main.name} has no two free ports in a row; give --main_process_port")
            found["main_process_port"] = [port, f"free on {main.name}", FLAG]
        return found

    def _address(self, crew: Crew) -> tuple[str, str]:
        """Return the main machine's address, as ssh shows it to one side or the other.

        Raises:
            AccelError: it isn't known.
        """
        main = crew.links[0]
        if not main.place.here:
            address = _connection(main.said["ready"], 2)
            if address and not address.startswith("127.") and address != "::1":
                return address, f"where ssh reaches {main.name}"
            return main.machine.name, f"the first of {self.settings.origin('hosts')}"
        other = next((link for link in crew.links if not link.place.here), None)
        if other is None:
            return LOOPBACK, "all hosts are this machine"
        address = _connection(other.said["ready"], 0)
        if not address or self.host.probe.network.is_remote(address):
            raise AccelError(
                f"{main.name} is this machine, but {other.name} sees it as {address or 'nothing'}, which isn't its "
                "address; give --main_process_ip"
            )
        return address, f"where {other.name} sees this machine"

    def _announce(self, crew: Crew, carried: tuple[str, ...]) -> None:
        from accel_launch.hosts.outcome import by_machine

        planned = {link.name: link.said["planned"] for link in crew.links}
        counts = [f"{name} {told.get('ranks')}" for name, told in planned.items()]
        notes = by_machine({name: [str(note) for note in told.get("notes", ())] for name, told in planned.items()})
        machine = f", machine 0 of {len(counts)}"
        where = f"{len(counts)} hosts ({', '.join(counts)})" if len(counts) > 1 else f"host {counts[0].split()[0]}"
        if self.code is not None:
            told = (f"note: {note}" for note in self.code.notes)
            tell("accel", (f"the code: {self.code.summary}", *carried, *told))
        first = f"{where}; on the first: {crew.summary.replace(machine, '')}"
        tell("accel", (first, *(f"note: {note}" for note in notes)))

    @property
    def masked(self) -> dict[str, str]:
        """The variables for the ranks, without secrets."""
        return environment(self.variables)


def _refuse_second_host(settings: Settings, host: Host, script: Sequence[str]) -> None:
    """Refuse hosts that blanks separate, of which the second one would be the script.

    Raises:
        AccelError: they are separated so.
    """
    name, after = (*script, "", "")[:2]
    launcher, folder = settings[Launcher], host.cwd
    known = launcher.module or launcher.no_python or "/" in name or os.path.exists(os.path.join(folder, name))
    if not known and after.endswith(".py") and os.path.isfile(os.path.join(folder, after)):
        listed = settings.value("hosts").value
        raise AccelError(f"the script {name} doesn't exist; if it is a host, write --hosts {listed},{name} {after}")


def is_here(machine: listing.Machine, host: Host) -> bool:
    """Return whether this is the machine itself, by its name or address; a user or a port always means ssh."""
    if machine.user or machine.port is not None:
        return False
    if machine.name in LOCAL_NAMES or machine.name.partition(".")[0] == host.name.partition(".")[0]:
        return machine.name in LOCAL_NAMES or "." not in machine.name or machine.name == host.name
    from accel_launch.ranks.route import numeric

    return numeric(machine.name) and not host.probe.network.is_remote(machine.name)


def _connection(ready: dict[str, object], place: int) -> str:
    """Return a word of SSH_CONNECTION: the client's address, its port, the machine's address, its port."""
    words = ready.get("connection")
    return str(words[place]) if isinstance(words, list) and len(words) > place else ""  # pyright: ignore[reportUnknownArgumentType]
