"""The same work for many names at once, in threads."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Progress = Callable[[int, int], None]

WORKERS = 32
_TICK = 0.2  # seconds between two checks


class _Outcome(Record):
    """The result or the error of the job at a place."""

    place: int
    result: Any
    error: BaseException | None


def work_on(
    names: Sequence[str],
    work: Callable[[str], Any],
    progress: Progress | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[Any]:
    """Return the result of `work` for each name; call `progress` with (finished, all) after each.

    `check` is called now and then. If it or a job fails, and on Ctrl-C, the call returns at once: it doesn't wait for
    the requests of other jobs.

    Raises:
        Exception: the first error of a job, or of `check`.

    """
    jobs, outcomes, over = SimpleQueue[tuple[int, str]](), SimpleQueue[_Outcome](), Event()
    for job in enumerate(names):
        jobs.put(job)
    for _ in range(min(WORKERS, len(names))):
        Thread(target=_worker, args=(work, jobs, outcomes, over), daemon=True).start()
    results: list[Any] = [None] * len(names)
    try:
        for finished in range(1, len(names) + 1):
            outcome = _next(outcomes, check)
            if outcome.error is not None:
                raise outcome.error
            results[outcome.place] = outcome.result
            if progress is not None:
                progress(finished, len(names))
    finally:
        over.set()
    return results


def _next(outcomes: SimpleQueue[_Outcome], check: Callable[[], None]) -> _Outcome:
    while True:
        check()
        with suppress(Empty):
            return outcomes.get(timeout=_TICK)


def _worker(
    work: Callable[[str], Any], jobs: SimpleQueue[tuple[int, str]], outcomes: SimpleQueue[_Outcome], over: Event
) -> None:
    """Do jobs until none is left, or `over` is set."""
    while not over.is_set():
        try:
            place, name = jobs.get_nowait()
        except Empty:
            return
        try:
            outcomes.put(_Outcome(place, work(name), None))
        except BaseException as error:
            outcomes.put(_Outcome(place, None, error))
