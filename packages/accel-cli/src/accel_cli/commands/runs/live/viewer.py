"""The view in the terminal: what each key does, and what is shown then."""

from __future__ import annotations

import os
import threading
import time

from rich.text import Text

from accel_cli.commands.runs.live import watch as watching
from accel_cli.commands.runs.live.screen import Pen
from accel_cli.commands.runs.live.terminal import GONE, Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_cli.commands.runs.live.watch import Watch

RANKS, OUTPUT, STACKS, HELP = "ranks", "output", "stacks", "help"
HINTS = {
    RANKS: "up/down rank   f output   s stacks   x stop   ? help   q leave",
    OUTPUT: "up/down older   left/right rank   s stacks   Esc ranks   ? help   q leave",
    STACKS: "up/down lines   s again   f output   Esc ranks   ? help   q leave",
    HELP: "Esc ranks   q leave",
}
TYPING = 1.0  # seconds in which digits belong to one number


class Viewer:
    """Shows a run until it ends or is left."""

    def __init__(self, watch: Watch, terminal: Terminal) -> None:
        """Take what looks at the run, and where to show it."""
        self.watch, self.terminal = watch, terminal
        self.page, self.chosen, self.back = RANKS, 0, 0
        self.asking, self.said = False, ""
        """Whether the last question is open, and what has become of it."""
        self.stacks: list[str] = []
        self.typed, self.typed_at = "", 0.0

    def show(self) -> bool:
        """Return whether the run has ended; False if it was left.

        Raises:
            Ended: a signal ends this process.
        """
        self.watch.start(self.terminal.wake)
        while True:
            self.terminal.write(self._screen())
            try:
                keys = self.terminal.keys()
            except KeyboardInterrupt:
                return False
            if self.watch.sheet.ended:
                return True
            for key in keys:
                if key in ("q", GONE) and not self.asking:
                    return False
                self._press(key)

    def _press(self, key: str) -> None:
        """Do what a key does."""
        if self.asking:
            self.asking = False
            self.said = (watching.stop(self.watch.run) or "the run was asked to stop") if key in ("y", "Y") else ""
        elif key == "x":
            self.asking = True
        elif key in ("f", "\r", "\n"):
            self._open(OUTPUT)
        elif key == "s":
            self._open(STACKS)
        elif key == "?":
            self._open(HELP)
        elif key == "escape":
            self._open(RANKS)
        elif key.isascii() and key.isdigit():
            self._type(key)
        else:
            self._move(key)

    def _move(self, key: str) -> None:
        step = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10}.get(key, 0)
        side = {"left": -1, "right": 1}.get(key, 0)
        if self.page == RANKS:
            self._choose(self.chosen + step + side)
        elif self.page == OUTPUT and side:
            self._choose(self.chosen + side)
        else:
            self.back = max(0, self.back - step)

    def _type(self, digit: str) -> None:
        """Choose the rank whose number is typed."""
        now = time.monotonic()
        self.typed = (self.typed if now - self.typed_at < TYPING else "") + digit
        self.typed_at = now
        ranks = [row.rank for row in self.watch.sheet.rows]
        if int(self.typed) not in ranks:
            self.typed = digit
        if int(self.typed) in ranks:
            self._choose(ranks.index(int(self.typed)))

    def _choose(self, place: int) -> None:
        self.chosen = max(0, min(place, len(self.watch.sheet.rows) - 1))
        if self.page == OUTPUT:
            self._open(OUTPUT)

    def _open(self, page: str) -> None:
        self.page, self.back, self.said = page, 0, ""
        rows = self.watch.sheet.rows
        rank = rows[self.chosen].rank if self.chosen < len(rows) else 0
        self.watch.followed = watching.Output(self.watch.run, rank) if page == OUTPUT else None
        if page == OUTPUT:
            self.watch.hurry.set()
        elif page == STACKS:
            self.stacks, self.back = ["looking at the ranks ..."], 1 << 20
            threading.Thread(target=self._look_at_stacks, daemon=True).start()

    def _look_at_stacks(self) -> None:
        self.stacks = watching.stacks(self.watch.run)
        self.back = 1 << 20  # they begin at the top
        self.terminal.wake()

    def _screen(self) -> str:
        """Return the screen as it is to be now."""
        found = self.watch.sheet
        self.chosen = max(0, min(self.chosen, len(found.rows) - 1))
        pen = Pen(*self.terminal.size, color=not os.environ.get("NO_COLOR"))
        head, body = pen.head(found), list[str]()
        room = max(pen.lines - len(head) - 1, 1)
        if self.page == RANKS:
            body, places = pen.ranks(found, self.chosen, room), pen.fitting(found, self.chosen, room)
            if len(places) < len(found.rows):
                shown = f"ranks {found.rows[places[0]].rank}-{found.rows[places[-1]].rank} of {len(found.rows)}"
                head[-1] = pen.draw(Text(shown, "bold"))[0]
        elif self.page == HELP:
            body = pen.help()
        else:
            lines = self.stacks
            if self.watch.followed is not None:
                rank = self.watch.followed.rank
                head[-1] = pen.draw(Text(f"output of rank {rank}", "bold"))[0]
                lines = self.watch.followed.shown or ["(nothing yet)"]
            body, self.back = pen.text(lines, room, self.back)
        return pen.screen(head, body, self._foot())

    def _foot(self) -> Text:
        if self.asking:
            return Text(f"Stop {self.watch.sheet.name}? y: yes, any other key: no", "bold reverse")
        return Text(self.said, "yellow") if self.said else Text(HINTS[self.page], "dim")
