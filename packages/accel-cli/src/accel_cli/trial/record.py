"""A rank's results: one line of JSON for each check that begins or ends, which the launching command reads."""

from __future__ import annotations

import json
import os
import time
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OK, FAILED, SKIPPED, BROKEN = "ok", "failed", "skipped", "broken"


class Wrong(Exception):
    """A check finished with another result than the expected one."""


class Skipped(Exception):
    """A check doesn't apply here; the message says why."""


def expect(what: str, got: object, wanted: object) -> None:
    """Compare a result with the expected one.

    Raises:
        Wrong: they differ.
    """
    if got != wanted:
        raise Wrong(f"{what}: got {got}, expected {wanted}")


class Recorder:
    """Runs checks, and appends their results to the rank's file, or prints them."""

    def __init__(self, folder: Path, rank: int, mark: str = "") -> None:
        """Append to a file in ``folder``; on a machine without that folder, write nothing. With ``mark``, print."""
        self.rank, self.mark = rank, mark
        self.failed = False
        self._path = folder / f"rank{rank}.jsonl"
        self._exists = folder.is_dir()

    def write(self, **fields: object) -> None:
        """Write one line."""
        if self.mark:
            data = {"rank": self.rank, "world": int(os.environ.get("WORLD_SIZE", "1")), **fields}
            os.write(1, f"{self.mark}{json.dumps(data)}\n".encode())
        elif self._exists:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"rank": self.rank, **fields}) + "\n")

    def run(self, name: str, check: Callable[[], str | None], agree: Agree | None = None) -> bool:
        """Run one check and record it; return whether all ranks can go on to the next.

        ``agree`` exchanges the outcomes of all ranks. After a wrong result, all ranks go on in step. After any other
        exception, the other ranks may wait in a collective that never ends.
        """
        self.write(name=name, state="begun")
        start = time.perf_counter()
        state, detail = outcome(check, lenient=agree is not None)
        seconds = time.perf_counter() - start
        others = agree(name, state, detail) if agree is not None else {self.rank: (state, detail)}
        bad = {rank: text for rank, (how, text) in others.items() if how in (FAILED, BROKEN)}
        if bad:
            self.failed, state, detail = True, FAILED, detail if self.rank in bad else ""
        self.write(name=name, state=state, detail=detail, seconds=seconds, bad=bad)
        return all(how != BROKEN for how, _text in others.values())


if TYPE_CHECKING:
    Agree = Callable[[str, str, str], dict[int, tuple[str, str]]]


def outcome(check: Callable[[], str | None], *, lenient: bool = False) -> tuple[str, str]:
    """Run a check; return its state and the detail for its row.

    With ``lenient``, a check is skipped if a device or backend reports that it doesn't support something, such as a
    type.
    """
    try:
        return OK, check() or ""
    except Skipped as why:
        return SKIPPED, str(why)
    except Wrong as error:
        return FAILED, str(error)
    except Exception as error:  # any exception of a rank's software is a result
        if lenient and ("nsupported" in str(error) or "nvalid scalar type" in str(error)):
            return SKIPPED, str(error).splitlines()[0]
        place = traceback.extract_tb(error.__traceback__)[-1]
        return BROKEN, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} ({place.name})"
