"""What a rank did, one line of JSON for each check that begins or ends: whoever started the ranks reads along."""

from __future__ import annotations

import json
import time
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OK, FAILED, SKIPPED, BROKEN = "ok", "failed", "skipped", "broken"


class Wrong(Exception):
    """A check ran to its end, and the result isn't the expected one."""


class Skipped(Exception):
    """A check doesn't apply here; the message says why."""


def expect(what: str, got: object, wanted: object) -> None:
    """Raise Wrong unless ``got`` is ``wanted``."""
    if got != wanted:
        raise Wrong(f"{what}: got {got}, expected {wanted}")


class Recorder:
    """Runs checks, and appends to the rank's file what becomes of them."""

    def __init__(self, folder: Path, rank: int) -> None:
        """Append to a file in ``folder``; on a machine that has no such folder nothing is kept."""
        self.rank = rank
        self.failed = False
        self._path = folder / f"rank{rank}.jsonl"
        self._there = folder.is_dir()

    def write(self, **said: object) -> None:
        """Append one line."""
        if self._there:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"rank": self.rank, **said}) + "\n")

    def run(self, name: str, check: Callable[[], str | None], agree: Agree | None = None) -> bool:
        """Run one check and record it; return whether all ranks can go on to the next.

        ``agree`` tells every rank's outcome to all. After a wrong result they go on in step; after anything else
        that one of them raised, they may be in the middle of something that will never end.
        """
        self.write(name=name, state="begun")
        start = time.perf_counter()
        state, told = outcome(check, lenient=agree is not None)
        seconds = time.perf_counter() - start
        others = agree(name, state, told) if agree is not None else {self.rank: (state, told)}
        bad = {rank: text for rank, (how, text) in others.items() if how in (FAILED, BROKEN)}
        if bad:
            self.failed, state, told = True, FAILED, told if self.rank in bad else ""
        self.write(name=name, state=state, told=told, seconds=seconds, bad=bad)
        return all(how != BROKEN for how, _text in others.values())


if TYPE_CHECKING:
    Agree = Callable[[str, str, str], dict[int, tuple[str, str]]]


def outcome(check: Callable[[], str | None], *, lenient: bool = False) -> tuple[str, str]:
    """Run a check; return how it ended and what is to be told of that.

    With ``lenient``, what a device or backend says it doesn't support (a type, as a rule) is skipped.
    """
    try:
        return OK, check() or ""
    except Skipped as why:
        return SKIPPED, str(why)
    except Wrong as error:
        return FAILED, str(error)
    except Exception as error:  # whatever a rank's software raises is a result
        if lenient and ("nsupported" in str(error) or "nvalid scalar type" in str(error)):
            return SKIPPED, str(error).splitlines()[0]
        place = traceback.extract_tb(error.__traceback__)[-1]
        return BROKEN, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} ({place.name})"
