"""The output settings: whose output is shown, what is kept in files."""

from __future__ import annotations

import os

from accel_config.catalogue import Launcher, Output, Rendezvous
from accel_config.errors import SettingError
from accel_config.settings.readers import natural
from accel_launch.planning.types import Display, Recording

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_config.settings.resolved import Settings
    from accel_launch.planning.layout import Layout


LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
LONGEST = 60  # letters of a run's name


def display(settings: Settings, processes: int, layout: Layout, script: Sequence[str]) -> Display:
    """Return what to show and keep of the output of the ``processes`` on this machine.

    Raises:
        SettingError: a list of ranks or of streams isn't valid.
    """
    output = settings[Output]
    shown = None if output.filter_ranks is None else _ranks(settings, output.filter_ranks)
    streams = _streams(settings, output.tee, processes)
    teed = settings.given("tee")
    return Display(
        prefix=output.prefix,
        shown=shown,
        log_dir=output.log_dir,
        kept=() if output.log_dir is None else streams if teed else (3,) * processes,
        marked=streams if teed else (),
        role=settings[Rendezvous].role,
        name=run_name(script),
        place=_place(layout),
        folded=not settings[Launcher].debug,
        report=output.report,
        terminals=output.detach and output.terminal,
    )


def recording(settings: Settings, place: str) -> Recording:
    """Return what to keep of a run, and under which name: other machines of it may share this one's folder.

    Raises:
        SettingError: the name isn't valid.
    """
    output = settings[Output]
    name = output.name or ""
    begins = name[:1] not in ("", ".", "-") and not name.isdecimal()
    if output.name is not None and not (begins and LETTERS.issuperset(name) and len(name) <= LONGEST):
        raise SettingError(
            f"{settings.origin('name')}: name must have at most {LONGEST} letters of a-z, A-Z, 0-9, '.', '_' and "
            f"'-', begin with a letter, a digit or '_', and be no number, not {name!r}"
        )
    if output.detach and output.no_record:
        raise SettingError(f"{settings.origin('detach')}: the record keeps the run's output; leave out no_record")
    if name and place:
        name = f"{name}.{place}"
    return Recording(
        name=name,
        kept=not output.no_record,
        age=float(output.record_age),
        count=output.record_count,
        detached=output.detach,
        output=output.output_limit << 20,
    )


def run_name(script: Sequence[str]) -> str:
    """Return the run's name: the script's, with letters that every file system takes."""
    base = os.path.basename(script[0]).removesuffix(".py") if script else ""
    return "".join(letter if letter in LETTERS else "_" for letter in base).strip("._-")[:LONGEST] or "run"


def _place(layout: Layout) -> str:
    if layout.task is not None:
        return f"rank{layout.task.rank}"
    return f"machine{layout.rank}" if layout.machines > 1 else ""


def _ranks(settings: Settings, text: str) -> tuple[int, ...]:
    ranks = [natural(word.strip()) for word in text.split(",")]
    if None in ranks:
        raise SettingError(
            f"{settings.origin('filter_ranks')}: filter_ranks must be local ranks, such as 0,4, not {text!r}"
        )
    return tuple(rank for rank in ranks if rank is not None)


def _streams(settings: Settings, text: str, processes: int) -> tuple[int, ...]:
    """Return which streams of each local rank ``3`` or ``0:1,1:3`` names, in torchrun's form."""
    found = dict.fromkeys(range(processes), 0)
    for word in text.split(","):
        rank, colon, streams = word.strip().rpartition(":")
        if streams not in ("0", "1", "2", "3") or (colon and natural(rank) is None):
            raise SettingError(
                f"{settings.origin('tee')}: tee must be 0, 1, 2 or 3, for all local ranks or for each "
                f"(0:1,1:3), not {text!r}"
            )
        which = natural(rank) if colon else None
        found.update(dict.fromkeys(found if which is None else (which,), int(streams)))
    return tuple(found.get(rank, 0) for rank in range(processes))
