"""Looks at a run again and again, in a thread of its own: a launcher or a vendor's tool may take long to answer."""

from __future__ import annotations

import re
import threading
import time
from collections import deque

from accel_cli.commands.runs import ending
from accel_cli.commands.runs.live import sheet
from accel_cli.commands.runs.live.sheet import Sheet
from accel_config.errors import AccelError
from accel_config.showing.printable import one_line
from accel_launch import runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

PACE = 1.0  # seconds between two looks
PATIENCE = 5.0  # seconds for a launcher to answer
RARE = 2.0  # seconds between two questions to the vendor's tool
KEPT = 1000  # lines of a rank's output
LONGEST = 4000  # characters of a line
LINE_END = re.compile(r"\r?\n|\r(?!\n|\Z)")
"""Also between two stages of a progress bar."""


class Watch:
    """A run, as it was seen last."""

    def __init__(self, run: runs.Run) -> None:
        """Take it."""
        self.run = run
        self.sheet = Sheet(run.name, run.words)
        self.followed: Output | None = None
        """The output that is looked at too."""
        described = run.description
        self.command = one_line(" ".join(map(str, described.get("command") or ())))
        self.machine: Any = described.get("machine")
        self.before: dict[tuple[int, int], tuple[float, float, int]] = {}
        """Of each rank and pid: when it was looked at, its seconds of CPU, and the bytes that it had printed."""
        self.answer: Mapping[str, Any] = {}
        self.devices: Any = ({}, {})
        self.asked, self.failures = -RARE, 0
        self.hurry = threading.Event()

    def start(self, seen: Callable[[], object]) -> None:
        """Look until the run has ended, and call ``seen`` after each look."""
        threading.Thread(target=self._look_on, args=(seen,), daemon=True).start()

    def _look_on(self, seen: Callable[[], object]) -> None:
        while not self.sheet.ended:
            self.look()
            if self.followed is not None:
                self.followed.read()
            seen()
            self.hurry.wait(PACE)
            self.hurry.clear()

    def look(self) -> Sheet:
        """Look once."""
        if not self.run.running:
            self.sheet = self._ended()
            return self.sheet
        if (now := self.run.state) == "stopped":
            self.sheet = self.sheet.replace(state=now, mood=sheet.ODD, note="its launcher is stopped")
            return self.sheet
        if time.monotonic() - self.asked >= RARE:
            self.devices, self.asked = runs.devices(), time.monotonic()
        try:
            self.answer = self.run.now(devices=self.devices, patience=PATIENCE)
        except AccelError as error:
            self.failures += 1  # the first one may be the run's end
            self.sheet = self.sheet.replace(note=one_line(str(error)) if self.failures > 1 else self.sheet.note)
            return self.sheet
        self.failures = 0
        columns, rows = sheet.rows(self.answer["figures"], self._rates(time.monotonic()))
        state = str(self.answer["state"])
        self.sheet = Sheet(
            self.run.name,
            state,
            sheet.MOODS.get(state, ""),
            sheet.facts(self.answer, self.run.age, self.machine),
            self.command,
            columns,
            rows,
            ending.awaited(self.run),
        )
        return self.sheet

    def _rates(self, now: float) -> dict[int, tuple[float, float]]:
        """Return the cores that each rank uses, and the bytes that it prints in a second, since the last look."""
        found: dict[int, tuple[float, float]] = {}
        seen: dict[tuple[int, int], tuple[float, float, int]] = {}
        for one in self.answer["figures"]:
            key, cpu, printed = (one["rank"], one["pid"]), one["cpu"] or 0.0, one["printed"]
            at, used, before = self.before.get(key, (now, cpu, printed))
            if now > at:
                found[one["rank"]] = max(0.0, cpu - used) / (now - at), max(0, printed - before) / (now - at)
            seen[key] = (now, cpu, printed)
        self.before = seen
        return found

    def _ended(self) -> Sheet:
        """Return the sheet of a run that has ended: its ranks as its events tell."""
        from accel_launch.running.report.records import signal_name

        how: dict[Any, str] = {}
        for event in self.run.events():
            if event["kind"] == "ended":
                by = event.get("signal")
                how[event.get("rank")] = (
                    f"terminated by {signal_name(by)}" if by else f"exit status {event.get('status')}"
                )
        ranks = [
            {**one, "state": "ended", "ended": how.get(one["rank"], ""), "memory": None, "device_memory": None}
            for one in self.answer.get("figures", ())
        ]
        columns, rows = sheet.rows([{**one, "device_use": None} for one in ranks], {}) if ranks else ((), ())
        return self.sheet.replace(
            state=self.run.words,
            mood="" if self.run.status == 0 else sheet.BAD,
            facts=sheet.facts(self.answer, self.run.age, self.machine),
            columns=columns,
            rows=rows,
            note="",
            ended=ending.line(self.run),
        )


class Output:
    """The end of what a rank prints, as it comes."""

    def __init__(self, run: runs.Run, rank: int) -> None:
        """Take a run, and its rank."""
        self.run, self.rank = run, rank
        self.shown: tuple[str, ...] = ()
        """The lines so far."""
        self.lines: deque[str] = deque(maxlen=KEPT)
        self.after: list[int] = []
        self.rest: list[str] = []
        """The line of each stream that isn't whole yet."""
        self.attempt = -1
        self.turn = threading.Lock()

    def read(self) -> None:
        """Read what has come since the last time."""
        with self.turn:
            try:
                found = self._ask()
                if found["attempt"] != self.attempt:
                    self.after, self.rest = [], []
                    if self.attempt >= 0:
                        self.lines.append(f"(attempt {found['attempt'] + 1})")
                        found = self._ask()
                    self.attempt = found["attempt"]
            except AccelError:  # the run's state tells why
                return
            streams = found["output"]
            self.rest += [""] * (len(streams) - len(self.rest))
            for _at, place, lost, text in sorted(_parts(streams), key=lambda part: part[0]):
                self.rest[place] = self._take(self.rest[place], lost, text)
            self.after = [stream["until"] for stream in streams]
            self.shown = (*self.lines, *(sheet.plain(rest.rstrip("\r")) for rest in self.rest if rest))

    def _ask(self) -> Mapping[str, Any]:
        return self.run.recent(self.rank, self.after, patience=PATIENCE)

    def _take(self, rest: str, lost: int, text: str) -> str:
        """Add the lines of a stream; return the one that isn't whole."""
        if lost:
            self.lines.append(f"({sheet.size(lost)} left out)")
            rest, text = "", text.partition("\n")[2] or text  # the line at which it begins isn't whole
        *whole, rest = LINE_END.split(rest + text)
        self.lines.extend(sheet.plain(line[-LONGEST:]) for line in whole)
        return rest[-LONGEST:]


def _parts(streams: Sequence[Mapping[str, Any]]) -> Iterator[tuple[float, int, int, str]]:
    """Yield what has come at once: its time, the place of its stream, the bytes left out before it, its text."""
    for place, stream in enumerate(streams):
        text, lost = stream["text"], stream["lost"]
        for length, at in stream.get("times") or [(len(text), 0.0)]:  # a launcher of an older version has none
            yield at, place, lost, text[:length]
            text, lost = text[length:], 0


def stacks(run: runs.Run) -> list[str]:
    """Return the stacks of a run's ranks, in lines."""
    from accel_launch.inspecting import report

    try:
        found = run.stacks()
    except AccelError as error:
        return [one_line(str(error))]
    return [sheet.plain(line) for line in report.text(found).rstrip("\n").split("\n")]


def stop(run: runs.Run) -> str:
    """Ask a run to end; return why that can't be done, or nothing."""
    import signal

    try:
        run.send(signal.SIGTERM)
    except AccelError as error:
        return one_line(str(error))
    return ""
