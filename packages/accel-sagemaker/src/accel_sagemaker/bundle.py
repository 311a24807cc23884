"""The source that the job gets: the script's folder in an archive whose bytes follow from the files alone."""

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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

ENTRY = "accel_entry.py"
"""The program of ours that the container starts, and beside it what it has to run."""
PROGRAM = "accel_entry.json"
IGNORE_FILES = (".sagemakerignore", ".gitignore")
"""The first of these in the folder says what stays out, in the words of git."""
ALWAYS_IGNORED = (
    ".git",
    ".sagemakerignore",
    "__pycache__/",
    "*.py[co]",
    ".venv/",
    ".ipynb_checkpoints/",
    ".DS_Store",
    ".env",
    ".env.*",
    ".envrc",
    ".netrc",
    ".aws/",
    ".ssh/",
    f"/{ENTRY}",
    f"/{PROGRAM}",
)
"""What stays out unless that file brings it back with ``!``; ``.env`` is where people keep secrets."""
SETUP = ("setup.py",)
"""With one of these at its root, the container would install the folder as a package and run that instead."""
MEGABYTE = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*")


class Source(Record):
    """One file of the bundle."""

    name: str
    """Its path inside the archive."""
    size: int
    executable: bool = False


class Bundle(Record):
    """What the archive is made of."""

    root: str
    files: tuple[Source, ...]
    program: dict[str, object]
    """What `ENTRY` has to run: the script, its arguments, and how."""
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The bytes of the user's files, before they are packed."""
        return sum(file.size for file in self.files)

    def pack(self) -> bytes:
        """Return the archive: the same bytes for the same files, names and program.

        Raises:
            AccelError: a file can't be read any more.
        """
        packed = io.BytesIO()
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as squeezed,
            tarfile.open(fileobj=squeezed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for file in self.files:
                _add(archive, file.name, _read(Path(self.root, file.name)), executable=file.executable)
            _add(archive, ENTRY, Path(__file__).with_name("entry.py").read_bytes())
            _add(archive, PROGRAM, json.dumps(self.program, indent=1, sort_keys=True).encode())
        return packed.getvalue()


def collect(root: Path, script: str, program: dict[str, object], limit: int) -> Bundle:
    """Return the bundle of the folder ``root``, of which ``script`` is a part.

    Raises:
        AccelError: the folder is larger than ``limit`` megabytes, holds a name that the container refuses, or the
            ignore file leaves the script out.
    """
    files: list[Source] = []
    notes: list[str] = []
    total = 0
    for file in _walk(root, _ignored(root), notes):
        if not _NAME.fullmatch(file.name):
            raise AccelError(
                f"{root / file.name}: the container takes only names of letters, digits and . _ + - /: "
                f"rename it, or leave it out with a line in {root / IGNORE_FILES[0]}"
            )
        if file.name in SETUP:
            notes.append(f"{file.name} is left out: with it the container would install the folder instead")
            continue
        files.append(file)
        total += file.size
        if total > limit * MEGABYTE:
            raise _too_large(root, files, limit)
    if script not in (file.name for file in files):
        raise AccelError(
            f"{root / script} isn't sent: {IGNORE_FILES[0]} or {IGNORE_FILES[1]} of its folder leaves it out"
        )
    return Bundle(str(root), tuple(sorted(files, key=lambda file: file.name)), program, tuple(notes))


def _ignored(root: Path) -> pathspec.GitIgnoreSpec:
    lines = list(ALWAYS_IGNORED)
    name = next((name for name in IGNORE_FILES if (root / name).is_file()), None)
    if name is not None:
        lines += _read(root / name).decode("utf-8", "replace").splitlines()
    return pathspec.GitIgnoreSpec.from_lines(lines)


def _walk(root: Path, ignored: pathspec.GitIgnoreSpec, notes: list[str]) -> Iterator[Source]:
    """Yield the files that are not ignored; note the links that lead to no file: they are not followed."""
    for folder, folders, names in os.walk(root, onerror=_unreadable):
        inside = Path(folder).relative_to(root)
        folders[:] = sorted(one for one in folders if not ignored.match_file(f"{(inside / one).as_posix()}/"))
        notes += [_not_followed(inside / one) for one in folders if (root / inside / one).is_symlink()]
        for name in sorted(names):
            path = inside / name
            if ignored.match_file(path.as_posix()):
                continue
            if (root / path).is_file():
                status = (root / path).stat()
                yield Source(path.as_posix(), status.st_size, executable=bool(status.st_mode & 0o100))
            elif (root / path).is_symlink():
                notes.append(_not_followed(path))


def _not_followed(path: Path) -> str:
    return f"{path.as_posix()} isn't sent: it is a link that leads to no file; put what is wanted in its place"


def _unreadable(error: OSError) -> NoReturn:
    raise AccelError(f"{error.filename} can't be read: {error.strerror}") from None


def _too_large(root: Path, files: list[Source], limit: int) -> AccelError:
    largest = sorted(files, key=lambda file: -file.size)[:3]
    named = ", ".join(f"{file.name} ({file.size / MEGABYTE:.1f} MB)" for file in largest)
    return AccelError(
        f"{root} is larger than {limit} MB, with {named}: leave files out with {root / IGNORE_FILES[0]}, "
        "send data as input channels, or raise --sagemaker_source_limit"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AccelError(f"{path} can't be read: {error.strerror}") from None


def _add(archive: tarfile.TarFile, name: str, content: bytes, *, executable: bool = False) -> None:
    """Add a file; nothing in the archive tells when, where and by whom it was made."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o755 if executable else 0o644
    archive.addfile(entry, io.BytesIO(content))
