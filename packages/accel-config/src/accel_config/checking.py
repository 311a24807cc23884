"""What is to be said of a config file by itself: what can't work, and what has no effect or no reader."""

from __future__ import annotations

from .errors import SettingError
from .files import Problem, load
from .record import Record
from .rules import broken, hints
from .settings import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .files import Read
    from .settings import Catalogue, Settings

JOB = "AMAZON_SAGEMAKER"
IN_JOBS = ("job", "both")
ON_MACHINES = ("machine", "both")


class Findings(Record):
    """What a look at a file found, each by its line."""

    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...] = ()


def check(catalogue: Catalogue, path: str) -> Findings:
    """Return what is to be said of the config file at ``path``."""
    try:
        read = load(catalogue, path)
    except SettingError as error:  # it can't be read at all
        return Findings((_placed(path, str(error)),))
    settings = resolve(catalogue, [read.values])
    problems = [*read.problems, *_missing(path, settings), *(_placed(path, text) for text in broken(settings))]
    notes = [*read.notes, *(_placed(path, text) for text in hints(settings)), *_unread(path, read, settings)]
    return Findings(_sorted(problems), _sorted(notes))


def _sorted(found: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(dict.fromkeys(found), key=lambda one: one.line))


def _placed(path: str, text: str) -> Problem:
    """Put a message on the last line of the file that it names, so that it stands where the contradiction arose."""
    own = text.removeprefix(f"{path}:")
    line, colon, rest = own.partition(": ")
    if own != text and colon and line.isdecimal():
        return Problem(path, int(line), rest)
    named = [part.partition(")")[0] for part in text.split(f"({path}:")[1:]]
    line_named = max((int(line) for line in named if line.isdecimal()), default=1)
    return Problem(path, line_named, text.removeprefix(f"{path}: "))


def in_scope(settings: Settings) -> tuple[str, ...]:
    """Return the scopes of the settings that a file for this environment may hold."""
    return IN_JOBS if settings.value("compute_environment").value == JOB else ON_MACHINES


def _missing(path: str, settings: Settings) -> Iterator[Problem]:
    """Yield what a job can't do without: the existing command refuses such a file, and the service such a job."""
    if in_scope(settings) is not IN_JOBS:
        return
    for one, value in settings:
        if one.needed and value.value is None:
            origin = settings.origin("compute_environment")
            yield _placed(path, f"{one.key} is missing: a job ({origin}) needs it")


def _unread(path: str, read: Read, settings: Settings) -> Iterator[Problem]:
    """Yield the keys that the existing command refuses, since other tools may read the file with it."""
    scopes = in_scope(settings)
    for one, value in settings:
        if not value.given or one.key is None or "." in one.key:
            continue
        if one.ours:
            yield _placed(path, f"{one.key} ({value.origin}) works here, but Hugging Face's launcher refuses it")
        elif one.scope not in scopes:
            where = "for a SageMaker job" if scopes is IN_JOBS else "that isn't for a SageMaker job"
            yield _placed(path, f"{one.key} ({value.origin}) has no effect in a file {where}")
    if not read.values and not read.keys and not read.notes and not read.problems:
        yield Problem(path, 1, "the file says nothing")
