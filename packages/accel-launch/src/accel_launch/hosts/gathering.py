"""From a list of machines to launchers that wait for the word to start: all of them, or none."""

from __future__ import annotations

import os
import select
import signal
import time

from accel_config.errors import USAGE, AccelError
from accel_config.showing.printable import one_line
from accel_launch.hosts import ssh
from accel_launch.hosts.link import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from accel_launch.hosts.assigning import Place
    from accel_launch.hosts.carrying.tree import Tree
    from accel_launch.running.output.router import OutputRouter

BEAT = 3.0  # seconds between two signs of life
PATIENCE = 90.0  # seconds for an answer: the first import from a file system of the network takes long
MORE = 5.0  # seconds for what others have to say, once a machine can't take part


class Crew:
    """The connections with all machines."""

    def __init__(self, router: OutputRouter, python: str) -> None:
        """Show their output with ``router``; ``python`` is their interpreter."""
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # who is stopped gives no sign of life
        self.router, self.python = router, python
        self.links: list[Link] = []
        self.poller = select.poll()
        self.beat = 0.0
        self.mark = f"\x1e{os.urandom(12).hex()} "
        """It begins the lines of the machines' launchers for this one."""

    def call(self, places: Sequence[Place], cwd: str, launcher: Tree | None, *, sync: bool) -> None:
        """Connect with each machine at once; return when all have answered.

        Args:
            places: The machines.
            cwd: The folder to which they go.
            launcher: The launcher, if it is to be carried to them.
            sync: Whether the code is, by which they get another folder.

        Raises:
            AccelError: one hasn't, or has another version; the message has a line for each.
        """
        from accel_config.showing.installing import quick_version

        for place in places:
            words = (
                ssh.launcher(os.path.expanduser(self.python))
                if place.here
                else ssh.command(place.machine, self.python, carried=launcher is not None)
            )
            try:
                link = Link(place, words, self.router, self.mark)
            except OSError as error:
                self.leave()
                way = "name its interpreter with --python" if place.here else "install OpenSSH's client"
                why = f"{words[0]} can't be started on this machine ({error.strerror})"
                raise AccelError(f"{place.machine.label}: {why}; {way}") from None
            self.links.append(link)
        if launcher is not None:
            self.carry(launcher, mark=self.mark, boot=_boot())
        for link in self.links:
            carried = sync and not link.place.here
            link.say({"mark": self.mark, "cwd": cwd, "sync": carried, "main": link.place.rank == 0})
        own = quick_version("accel-launch")
        self._await("ready", lambda link: self._other_version(link, own))

    def carry(self, tree: Tree, **more: object) -> tuple[str, ...]:
        """Bring a tree to each machine but this one; return lines about what has gone there.

        Raises:
            AccelError: one can't take it; the message has a line for each.
        """
        there, fed = [link for link in self.links if not link.place.here], set[Link]()
        for link in there:
            link.say({**more, "tree": tree.data()})

        def answer() -> None:
            for link in there:
                if link not in fed and f"{tree.name} wanted" in link.said:
                    fed.add(link)
                    link.say({"contents": len(_wanted(link, tree))})  # signs of life end here
                    link.feed(tree.contents(_wanted(link, tree)))

        self._await(f"{tree.name} here", lambda _link: "", there, answer)
        from accel_launch.hosts.carrying.tree import measure
        from accel_launch.hosts.outcome import by_machine

        gone = {link.name: [size for *_, size in map(tree.files.__getitem__, _wanted(link, tree))] for link in there}
        return by_machine({name: [f"carried {measure(sizes)}"] for name, sizes in gone.items()})

    def plan(self, asked: Callable[[Link], Mapping[str, object]]) -> None:
        """Let each machine plan what it is asked for.

        Raises:
            AccelError: one can't do it; the message has a line for each.
        """
        self.ask("planned", asked)

    def ask(self, kind: str, asked: Callable[[Link], Mapping[str, object]]) -> None:
        """Let each machine do what it is asked for, until all have answered with something of this ``kind``.

        Raises:
            AccelError: one can't do it; the message has a line for each.
        """
        for link in self.links:
            link.say(asked(link))
        self._await(kind, lambda _link: "")

    def _other_version(self, link: Link, own: str) -> str:
        its = str(link.said["ready"].get("version"))
        if its == own:
            return ""
        install = ssh.install(link.machine, self.python, here=link.place.here)
        return f"{link.name} has accel-launch {one_line(its)}, and this is {own}; {install}"

    def _await(
        self,
        kind: str,
        check: Callable[[Link], str],
        links: Sequence[Link] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        """Wait until each machine has said something of a kind, or any of ``links``.

        Raises:
            AccelError: one hasn't; the message has a line for each.
        """
        links, until, first = links or self.links, time.monotonic() + PATIENCE, 0.0
        while any(not _decided(link, kind) for link in links) and (now := time.monotonic()) < until:
            if self.turn(until - now, carried=True):
                until = time.monotonic() + PATIENCE
            if any(_failed(link) for link in links):
                until = min(until, first := first or time.monotonic() + MORE)
            if meanwhile is not None:
                meanwhile()
        wrong = [line for link in links for line in _wrong(link, kind, check, self.python)]
        if wrong:
            self.leave()
            raise AccelError(*wrong, status=max(link.refusal[0] for link in links) or USAGE)

    @property
    def ranks(self) -> int:
        """The number of all ranks, as the machines have planned them."""
        counts = [link.said["planned"].get("ranks") for link in self.links]
        return sum(count for count in counts if isinstance(count, int))

    @property
    def summary(self) -> str:
        """What the first machine says of the run."""
        return str(self.links[0].said["planned"].get("summary"))

    def leave(self) -> None:
        """Give all up: whoever waits there ends."""
        for link in self.links:
            link.hang_up()
        until = time.monotonic() + 1
        while any(link.status is None for link in self.links) and time.monotonic() < until:
            self.turn(until - time.monotonic())
        for link in self.links:
            link.kill()

    def turn(self, due: float, *, carried: bool = False) -> bool:
        """Wait for ``due`` seconds at most, and carry what has come; return whether anything has.

        With ``carried``, return whether any of what is carried to a machine has gone.
        """
        overdue, now = self.router.overdue(), time.monotonic()
        if now >= self.beat:
            self.beat = now + BEAT
            for link in self.links:
                link.sign()
        due = min(due, self.beat - now)
        self.router.register(self.poller)
        handles = [link.handle for link in self.links if link.handle is not None]
        feeding = [link for link in self.links if link.going is not None and link.input != -1]
        for handle in handles:
            self.poller.register(handle, select.POLLIN)
        for link in feeding:
            self.poller.register(link.input, select.POLLOUT)
        ready = self.poller.poll(max(0.0, min(due, due if overdue is None else overdue)) * 1000)
        for fd in (*handles, *(link.input for link in feeding)):
            self.poller.unregister(fd)
        self.router.handle(self.poller, ready)
        gone = [link.pump() for link in feeding]
        for link in self.links:
            link.look()
        return any(gone) if carried else bool(ready)


def _decided(link: Link, kind: str) -> bool:
    return kind in link.said or _gone(link)


def _failed(link: Link) -> bool:
    """Return whether a machine can't take part, or has been lost since it answered."""
    return bool(link.refusal[0]) or _gone(link)


def _gone(link: Link) -> bool:
    return link.status is not None and not link.reading


def _wrong(link: Link, kind: str, check: Callable[[Link], str], python: str) -> list[str]:
    if link.refusal[0]:
        return link.refusal[1]
    if kind in link.said and not _gone(link):
        return [line] if (line := check(link)) else []
    if link.status is None:
        return [f"{link.name}: no answer within {PATIENCE:.0f} s; try `{ssh.typed(link.machine)}`"]
    return [ssh.complaint(link.machine, python, link.status, link.printed, here=link.place.here)]


def _wanted(link: Link, tree: Tree) -> list[int]:
    """Return the files whose contents a machine asks for."""
    found: Any = link.said[f"{tree.name} wanted"].get("files")
    known = range(len(tree.files))
    return [number for number in found if number in known] if isinstance(found, list) else []  # pyright: ignore[reportUnknownVariableType]


def _boot() -> list[str]:
    """Return the programs that take the launcher's packages on a machine, and become its launcher."""
    from accel_launch.hosts.carrying import receiving, wire

    texts = list[str]()
    for module in (receiving, wire):
        with open(str(module.__file__), encoding="utf-8") as file:
            texts.append(file.read())
    return [*texts, "given = boot(hello, receive)", f"from {ssh.MODULE} import main; sys.exit(main(*given))"]
