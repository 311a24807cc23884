"""The results of `accelerate test`, read from the ranks' files while the ranks run: a row for each check."""

from __future__ import annotations

import json
import threading
from types import MappingProxyType

from accel_config.record import Record
from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

INTERVAL = 0.1  # seconds between two readings of the ranks' files
MARKS = {"ok": "ok", "skipped": "skipped", "failed": "FAILED"}


class Row(Record):
    """The result of one check."""

    name: str
    state: str
    """``ok``, ``skipped``, ``failed``; ``begun`` until every rank has finished it."""
    seconds: float = 0.0
    detail: str = ""
    bad: Mapping[int, str] = MappingProxyType({})
    """The ranks on which it failed, and why."""
    inside: tuple[int, ...] = ()
    """The ranks that began it and haven't finished it."""

    def __str__(self) -> str:
        """Return its line, and one more line for each rank that failed."""
        time = "" if self.state == "skipped" else f"{self.seconds:.2f} s"
        rows = [
            f"  {MARKS.get(self.state, 'UNFINISHED'):<10} {time:>9}  {self.name:<28} {one_line(self.detail)}".rstrip()
        ]
        rows += [f"{'':<24}rank {rank}: {one_line(why)}" for rank, why in sorted(self.bad.items())]
        if self.inside:
            rows.append(f"{'':<24}not finished on rank {', '.join(map(str, self.inside))}")
        return "\n".join(rows)


class Results:
    """The ranks' files in a folder."""

    def __init__(self, folder: Path, ranks: int) -> None:
        """Take the folder of the files, and the number of ranks on this machine."""
        self.folder, self.ranks = folder, ranks
        self.library = ""
        """The version of Hugging Face's accelerate in the ranks."""
        self.ended = False
        """Whether a rank finished its list."""

    @property
    def first(self) -> int:
        """The lowest rank of this machine."""
        return min((int(path.stem.removeprefix("rank")) for path in self.folder.glob("rank*.jsonl")), default=0)

    def rows(self) -> list[Row]:
        """Return a row for each check that any rank has begun, in order."""
        checks: dict[str, dict[int, dict[str, Any]]] = {}
        for line in self._lines():
            if line["state"] == "end":
                self.library, self.ended = line["library"], True
            else:
                checks.setdefault(line["name"], {})[line["rank"]] = line
        return [self._row(name, by_rank) for name, by_rank in checks.items()]

    def _row(self, name: str, by_rank: dict[int, dict[str, Any]]) -> Row:
        ended = [line for line in by_rank.values() if line["state"] != "begun"]
        inside = tuple(sorted(rank for rank, line in by_rank.items() if line["state"] == "begun"))
        bad = {int(rank): why for line in ended for rank, why in line["bad"].items()}
        states = {line["state"] for line in ended}
        if bad:
            state = "failed"
        elif inside or len(by_rank) < self.ranks:
            state = "begun"
        else:
            state = "ok" if "ok" in states else "skipped"
        return Row(
            name,
            state,
            seconds=max((line["seconds"] for line in ended), default=0.0),
            detail="" if bad else next((line["detail"] for line in ended if line["detail"]), ""),
            bad=bad,
            inside=inside,
        )

    def _lines(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for path in sorted(self.folder.glob("*.jsonl")):
            with path.open(encoding="utf-8") as file:
                found += [json.loads(line) for line in file if line.endswith("\n")]
        return found


class Following(threading.Thread):
    """Shows each row as soon as every rank has finished its check."""

    def __init__(self, results: Results, show: Callable[[str], None]) -> None:
        """Show the rows of ``results`` with ``show``."""
        super().__init__(daemon=True)
        self.results, self.show = results, show
        self.shown = 0
        self._over = threading.Event()

    def run(self) -> None:
        """Read the files until `finish` is called."""
        while not self._over.wait(INTERVAL):
            self._update(whole=False)

    def finish(self) -> list[Row]:
        """Show the remaining rows, finished or not, and return every row."""
        self._over.set()
        self.join()
        return self._update(whole=True)

    def _update(self, *, whole: bool) -> list[Row]:
        rows = self.results.rows()
        while self.shown < len(rows) and (whole or not _open(rows[self.shown])):
            self.show(f"{rows[self.shown]}\n")
            self.shown += 1
        return rows


def _open(row: Row) -> bool:
    return row.state == "begun" or bool(row.inside)


def count(rows: Sequence[Row]) -> str:
    """Return a line that says how many checks passed."""
    states = [row.state for row in rows]
    words = {"ok": "passed", "skipped": "skipped", "failed": "failed", "begun": "unfinished"}
    counts = [f"{states.count(state)} {word}" for state, word in words.items() if state in states]
    checks = "1 check" if len(rows) == 1 else f"{len(rows)} checks"
    return f"{checks}: {', '.join(counts)}\n" if rows else "no check began\n"
