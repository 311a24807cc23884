"""The check of a config file: mistakes, and keys that have no effect or that other tools reject."""

from __future__ import annotations

from accel_config.checking.rules import broken, hints
from accel_config.errors import AccelError, SettingError, nearest
from accel_config.reading.files import Problem
from accel_config.reading.own import load_all
from accel_config.record import Record
from accel_config.settings.readers import natural
from accel_config.settings.resolved import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from accel_config.reading.files import Read
    from accel_config.settings.index import Catalogue
    from accel_config.settings.resolved import Settings

MORE = "accel_config.checking.file"
"""Entry points: other packages' checks, each a function of the settings of a file that it says can't be right."""
JOB = "AMAZON_SAGEMAKER"
IN_JOBS = ("job", "both")
ON_MACHINES = ("machine", "both")


class FileReport(Record):
    """The problems of a file and the notes on it, by line."""

    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...] = ()


def check(catalogue: Catalogue, path: str, own: str | None = None) -> FileReport:
    """Check the config file at ``path``, together with our own file if ``path`` is the default file."""
    try:
        read = load_all(catalogue, path, own)
    except SettingError as error:  # it can't be read at all
        return FileReport((_placed(path, str(error)),))
    settings = resolve(catalogue, [read.values])
    problems = [*read.problems, *_missing(path, settings), *(_placed(path, text) for text in broken(settings))]
    problems += read.conflicts
    problems += _unregistered(path, settings)
    problems += _words(path, settings)
    notes = [
        *(note for note in read.notes if note not in read.conflicts),
        *(_placed(path, text) for text in hints(settings)),
    ]
    notes += _unread(path, read, settings, default=own is not None)
    return FileReport(_sorted(problems), _sorted(notes))


def _sorted(found: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(dict.fromkeys(found), key=lambda one: one.line))


def _placed(path: str, text: str) -> Problem:
    """Put a message on the last line of the file that it names, where the contradiction arises."""
    own = text.removeprefix(f"{path}:")
    line, colon, rest = own.partition(": ")
    if own != text and colon and (number := natural(line)) is not None:
        return Problem(path, number, rest)
    named = [part.partition(")")[0] for part in text.split(f"({path}:")[1:]]
    line_named = max((natural(line) or 1 for line in named), default=1)
    return Problem(path, line_named, text.removeprefix(f"{path}: "))


def in_scope(settings: Settings) -> tuple[str, ...]:
    """Return the scopes of the settings that a file for this environment may hold."""
    return IN_JOBS if settings.value("compute_environment").value == JOB else ON_MACHINES


def _missing(path: str, settings: Settings) -> Iterator[Problem]:
    """Yield the settings that a job lacks: Hugging Face's `accelerate` rejects such a file, SageMaker such a job."""
    if in_scope(settings) is not IN_JOBS:
        return
    for one, value in settings:
        if one.needed and value.value is None:
            origin = settings.origin("compute_environment")
            yield _placed(path, f"{one.key} is missing: a job ({origin}) needs it")


def _unregistered(path: str, settings: Settings) -> Iterator[Problem]:
    """Yield values that look like a typing error: no installed package has the name, but one that is close."""
    for one, value in settings:
        if one.registry and value.given and str(value.value) not in (known := (*one.known, *map(str, one.choices))):
            hint = nearest(str(value.value), known)
            if hint:
                yield _placed(path, f"{one.key} {value.value!r} ({value.origin}) isn't installed{hint}")


def _words(path: str, settings: Settings) -> Iterator[Problem]:
    """Yield what other packages say of a value that only they can read: the model whose memory is checked."""
    if not settings.value("check_memory").given:
        return
    from importlib.metadata import entry_points

    for entry in entry_points(group=MORE):
        try:
            entry.load()(settings)
        except AccelError as error:
            yield _placed(path, str(error))


def _unread(path: str, read: Read, settings: Settings, *, default: bool) -> Iterator[Problem]:
    """Yield the keys that Hugging Face's `accelerate` rejects, since other tools may read the file with it."""
    scopes = in_scope(settings)
    for one, value in settings:
        if not value.given or one.key is None or "." in one.key:
            continue
        if one.ours and default:
            continue  # in our own file it is right, and a note tells of it in the default file
        if one.ours:
            yield _placed(path, f"{one.key} ({value.origin}) works here, but Hugging Face's launcher rejects it")
        elif one.scope not in scopes:
            where = "for a SageMaker job" if scopes is IN_JOBS else "that isn't for a SageMaker job"
            yield _placed(path, f"{one.key} ({value.origin}) has no effect in a file {where}")
    if not read.values and not read.keys and not read.notes and not read.problems:
        yield Problem(path, 1, "the file has no settings")
