"""What the ranks of `accelerate test` record, read along while they run: a row for each check."""

from __future__ import annotations

import json
import threading
from types import MappingProxyType

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

LOOK = 0.1  # seconds between two looks at the ranks' files
MARKS = {"ok": "ok", "skipped": "skipped", "failed": "FAILED"}


class Row(Record):
    """What became of one check."""

    name: str
    state: str
    """``ok``, ``skipped``, ``failed``; ``begun`` while some rank hasn't come to its end."""
    seconds: float = 0.0
    told: str = ""
    bad: Mapping[int, str] = MappingProxyType({})
    """For each rank on which it failed, why."""
    inside: tuple[int, ...] = ()
    """The ranks that began it and didn't come to its end."""

    def __str__(self) -> str:
        """Show it on a line, with a line more for each rank that failed."""
        time = "" if self.state == "skipped" else f"{self.seconds:.2f} s"
        rows = [f"  {MARKS.get(self.state, 'UNFINISHED'):<10} {time:>9}  {self.name:<28} {self.told}".rstrip()]
        rows += [f"{'':<24}rank {rank}: {why}" for rank, why in sorted(self.bad.items())]
        if self.inside:
            rows.append(f"{'':<24}not ended on rank {', '.join(map(str, self.inside))}")
        return "\n".join(rows)


class Results:
    """The ranks' files in a folder."""

    def __init__(self, folder: Path, ranks: int) -> None:
        """Read what ``ranks`` ranks of this machine write into ``folder``."""
        self.folder, self.ranks = folder, ranks
        self.library = ""
        """The version of Hugging Face's library that the ranks have."""
        self.ended = False
        """Whether a rank came to the end of its list."""

    @property
    def first(self) -> int:
        """The lowest rank of this machine."""
        return min((int(path.stem.removeprefix("rank")) for path in self.folder.glob("rank*.jsonl")), default=0)

    def rows(self) -> list[Row]:
        """Return a row for each check that any rank has begun, in order."""
        said: dict[str, dict[int, dict[str, Any]]] = {}
        for line in self._lines():
            if line["state"] == "end":
                self.library, self.ended = line["library"], True
            else:
                said.setdefault(line["name"], {})[line["rank"]] = line
        return [self._row(name, of) for name, of in said.items()]

    def _row(self, name: str, of: dict[int, dict[str, Any]]) -> Row:
        ended = [line for line in of.values() if line["state"] != "begun"]
        inside = tuple(sorted(rank for rank, line in of.items() if line["state"] == "begun"))
        bad = {int(rank): why for line in ended for rank, why in line["bad"].items()}
        states = {line["state"] for line in ended}
        if bad:
            state = "failed"
        elif inside or len(of) < self.ranks:
            state = "begun"
        else:
            state = "ok" if "ok" in states else "skipped"
        return Row(
            name,
            state,
            seconds=max((line["seconds"] for line in ended), default=0.0),
            told="" if bad else next((line["told"] for line in ended if line["told"]), ""),
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
    """Shows each row as soon as every rank has come to the end of its check."""

    def __init__(self, results: Results, show: Callable[[str], None]) -> None:
        """Show what is found in ``results``."""
        super().__init__(daemon=True)
        self.results, self.show = results, show
        self.shown = 0
        self._over = threading.Event()

    def run(self) -> None:
        """Look until it is over."""
        while not self._over.wait(LOOK):
            self._look(whole=False)

    def finish(self) -> list[Row]:
        """Show what is left, ended or not, and return every row."""
        self._over.set()
        self.join()
        return self._look(whole=True)

    def _look(self, *, whole: bool) -> list[Row]:
        rows = self.results.rows()
        while self.shown < len(rows) and (whole or not _open(rows[self.shown])):
            self.show(f"{rows[self.shown]}\n")
            self.shown += 1
        return rows


def _open(row: Row) -> bool:
    return row.state == "begun" or bool(row.inside)
