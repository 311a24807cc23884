"""The job's source: the script's folder in an archive whose bytes depend on the files alone."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile
from pathlib import Path

import pathspec

from accel_config.errors import AccelError
from accel_config.record import Record
from accel_config.showing.wording import line
from accel_sagemaker import entry
from accel_sagemaker.building import private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

ENTRY = "accel_entry.py"
"""Our program, which the container starts, and in the same folder the description of what to run."""
PROGRAM = "accel_entry.json"
IGNORE_FILES = (".sagemakerignore", ".gitignore")
"""The first of these in the folder lists what to omit, in git's syntax."""
ALWAYS_IGNORED = (
    ".git",
    ".sagemakerignore",
    "__pycache__/",
    "*.py[co]",
    ".venv/",
    ".ipynb_checkpoints/",
    ".DS_Store",
    f"/{ENTRY}",
    f"/{PROGRAM}",
)
"""These are omitted, unless that file includes them with ``!``."""
SETUP = ("setup.py",)
"""If one of these is at the root, the container installs the folder as a package and runs that instead."""
MEGABYTE = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*")


class Source(Record):
    """One file of the bundle."""

    name: str
    """Its path inside the archive."""
    size: int
    executable: bool = False


class Bundle(Record):
    """The contents of the archive."""

    root: str
    files: tuple[Source, ...]
    program: dict[str, object]
    """What `ENTRY` runs: the script, its arguments, and how they are started."""
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of the user's files before packing."""
        return sum(file.size for file in self.files)

    def pack(self) -> bytes:
        """Return the archive: the same bytes for the same files, names and program.

        Raises:
            AccelError: a file can no longer be read.
        """
        packed = io.BytesIO()
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as squeezed,
            tarfile.open(fileobj=squeezed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for file in self.files:
                _add(archive, file.name, _read(Path(self.root, file.name)), executable=file.executable)
            _add(archive, ENTRY, Path(entry.__file__).read_bytes())
            _add(archive, PROGRAM, json.dumps(self.program, indent=1, sort_keys=True).encode())
        return packed.getvalue()


def collect(root: Path, script: str, program: dict[str, object], limit: int) -> Bundle:
    """Return the bundle of the folder ``root``, which contains ``script``.

    Raises:
        AccelError: the folder is a home, is larger than ``limit`` megabytes, has a name that the container refuses,
            or the ignore file omits the script.
    """
    private.refuse_homes(root)
    files: list[Source] = []
    notes: list[str] = []
    total = 0
    own = _lines(root, IGNORE_FILES[0])
    hidden = private.Private(own or ())
    for file in _walk(root, _ignored(root, own), hidden, notes):
        if not _NAME.fullmatch(file.name):
            raise AccelError(
                f"{root / file.name}: the container accepts only names of letters, digits and . _ + - /; rename the "
                f"file, or omit it with a line in {root / IGNORE_FILES[0]}"
            )
        if file.name in SETUP:
            notes.append(f"{file.name} is omitted, because with it the container would install the folder instead")
            continue
        files.append(file)
        total += file.size
        if total > limit * MEGABYTE:
            raise _too_large(root, files, limit)
    if script not in (file.name for file in files):
        raise AccelError(
            f"{root / script} isn't in the bundle: {IGNORE_FILES[0]} or {IGNORE_FILES[1]} in its folder omits it"
        )
    notes += (*hidden.notes(IGNORE_FILES[0]), *_leading_out(root, files))
    return Bundle(str(root), tuple(sorted(files, key=lambda file: file.name)), program, tuple(notes))


def _lines(root: Path, name: str) -> list[str] | None:
    """Return the lines of an ignore file, or None if there is no such file."""
    return _read(root / name).decode("utf-8", "replace").splitlines() if (root / name).is_file() else None


def _ignored(root: Path, own: list[str] | None) -> pathspec.GitIgnoreSpec:
    lines = _lines(root, IGNORE_FILES[1]) if own is None else own
    return pathspec.GitIgnoreSpec.from_lines([*ALWAYS_IGNORED, *(lines or ())])


def _leading_out(root: Path, files: list[Source]) -> list[str]:
    """Return a note about the links to files outside of the folder, whose content is sent; none without any."""
    inside = root.resolve()
    found = [
        f"{file.name} -> {line((root / file.name).resolve().as_posix())}"
        for file in files
        if not (root / file.name).resolve().is_relative_to(inside)
    ]
    more = f" and {len(found) - private.NAMED} more" if len(found) > private.NAMED else ""
    what = "links that leave the folder are sent as the files that they lead to"
    return [f"{what}: {', '.join(found[: private.NAMED])}{more}"] if found else []


def _walk(root: Path, ignored: pathspec.GitIgnoreSpec, hidden: private.Private, notes: list[str]) -> Iterator[Source]:
    """Yield the files that aren't ignored or private; note each link that doesn't lead to a file."""
    for folder, folders, names in os.walk(root, onerror=_unreadable):
        inside = Path(folder).relative_to(root)
        named = {name: f"{(inside / name).as_posix()}/" for name in sorted(folders)}
        folders[:] = [
            name for name, path in named.items() if not (ignored.match_file(path) or hidden.leaves_out(path))
        ]
        notes += [_not_followed(inside / name) for name in folders if (root / inside / name).is_symlink()]
        for name in sorted(names):
            path = inside / name
            if ignored.match_file(path.as_posix()) or hidden.leaves_out(path.as_posix()):
                continue
            if (root / path).is_file():
                if hidden.leaves_out_content(path.as_posix(), root / path):
                    continue
                status = (root / path).stat()
                yield Source(path.as_posix(), status.st_size, executable=bool(status.st_mode & 0o100))
            elif (root / path).is_symlink():
                notes.append(_not_followed(path))


def _not_followed(path: Path) -> str:
    return f"{line(path.as_posix())} is omitted: it is a link that doesn't lead to a file; replace it by its target"


def _unreadable(error: OSError) -> NoReturn:
    raise AccelError(f"{error.filename} can't be read: {error.strerror}") from None


def _too_large(root: Path, files: list[Source], limit: int) -> AccelError:
    largest = sorted(files, key=lambda file: -file.size)[:3]
    named = ", ".join(f"{file.name} ({file.size / MEGABYTE:.1f} MB)" for file in largest)
    return AccelError(
        f"{root} is larger than {limit} MB; its largest files are {named}. Omit files with "
        f"{root / IGNORE_FILES[0]}, send data as input channels, or raise --sagemaker_source_limit"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AccelError(f"{path} can't be read: {error.strerror}") from None


def _add(archive: tarfile.TarFile, name: str, content: bytes, *, executable: bool = False) -> None:
    """Add a file without its time and owner."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o755 if executable else 0o644
    archive.addfile(entry, io.BytesIO(content))
