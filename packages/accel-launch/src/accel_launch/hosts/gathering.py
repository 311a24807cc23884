"""From a list of machines to launchers that wait for the word to start: all of them, or none."""

from __future__ import annotations

import os
import select
import time

from accel_config.errors import AccelError
from accel_config.printable import one_line
from accel_launch.hosts import ssh
from accel_launch.hosts.link import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from accel_launch.hosts.assigning import Place
    from accel_launch.running.output.router import OutputRouter

BEAT = 3.0  # seconds between two signs of life
PATIENCE = 90.0  # seconds for an answer: the first import from a file system of the network takes long


class Crew:
    """The connections with all machines."""

    def __init__(self, router: OutputRouter, python: str) -> None:
        """Show their output with ``router``; ``python`` is their interpreter."""
        self.router, self.python = router, python
        self.links: list[Link] = []
        self.poller = select.poll()
        self.beat = 0.0
        self.mark = f"\x1e{os.urandom(12).hex()} "
        """It begins the lines of the machines' launchers for this one."""

    def call(self, places: Sequence[Place], cwd: str) -> None:
        """Connect with each machine at once; return when all have answered.

        Raises:
            AccelError: one hasn't, or has another version; the message has a line for each.
        """
        from accel_config.showing.installing import quick_version

        for place in places:
            launcher = (
                ssh.launcher(os.path.expanduser(self.python))
                if place.here
                else ssh.command(place.machine, self.python)
            )
            try:
                link = Link(place, launcher, self.router, self.mark)
            except OSError as error:
                self.leave()
                way = "name its interpreter with --python" if place.here else "install OpenSSH's client"
                why = f"{launcher[0]} can't be started on this machine ({error.strerror})"
                raise AccelError(f"{place.machine.label}: {why}; {way}") from None
            self.links.append(link)
            link.say({"mark": self.mark, "cwd": cwd, "main": place.rank == 0})
        own = quick_version("accel-launch")
        self._await("ready", lambda link: self._other_version(link, own))

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
        return f"{link.name} has accel-launch {one_line(its)}, and this is {own}; install the same: {install}"

    def _await(self, kind: str, check: Callable[[Link], str]) -> None:
        until = time.monotonic() + PATIENCE
        while any(not self._decided(link, kind) for link in self.links) and time.monotonic() < until:
            self.turn(until - time.monotonic())
        wrong = [line for link in self.links for line in self._wrong(link, kind, check)]
        if wrong:
            self.leave()
            raise AccelError(*wrong)

    @staticmethod
    def _decided(link: Link, kind: str) -> bool:
        return kind in link.said or (link.status is not None and not link.reading)

    def _wrong(self, link: Link, kind: str, check: Callable[[Link], str]) -> list[str]:
        refused = link.said.get("refused")
        if refused is not None:
            lines: Any = refused.get("lines")
            return [f"{link.name}: {line}" for line in lines] if isinstance(lines, list) else [link.name]  # pyright: ignore[reportUnknownVariableType]
        if kind in link.said:
            return [line] if (line := check(link)) else []
        if link.status is None:
            return [f"{link.name}: no answer within {PATIENCE:.0f} s; try `{ssh.typed(link.machine)}`"]
        return [ssh.complaint(link.machine, self.python, link.status, link.printed, here=link.place.here)]

    def leave(self) -> None:
        """Give all up: whoever waits there ends."""
        for link in self.links:
            link.hang_up()
        until = time.monotonic() + 1
        while any(link.status is None for link in self.links) and time.monotonic() < until:
            self.turn(until - time.monotonic())
        for link in self.links:
            link.kill()

    def turn(self, due: float) -> bool:
        """Wait for ``due`` seconds at most, and carry what has come; return whether anything has."""
        overdue, now = self.router.overdue(), time.monotonic()
        if now >= self.beat:
            self.beat = now + BEAT
            for link in self.links:
                link.sign()
        due = min(due, self.beat - now)
        self.router.register(self.poller)
        handles = [link.handle for link in self.links if link.handle is not None]
        for handle in handles:
            self.poller.register(handle, select.POLLIN)
        ready = self.poller.poll(max(0.0, min(due, due if overdue is None else overdue)) * 1000)
        for handle in handles:
            self.poller.unregister(handle)
        self.router.handle(self.poller, ready)
        for link in self.links:
            link.look()
        return bool(ready)
