"""The scripts of an installed distribution, and the two files in which it lists them: RECORD and entry_points.txt.

Installers delete what a RECORD lists, and pip also the scripts of the group `console_scripts`. A script that is to
stay goes from there to a group of ours, which no installer reads, so that it can come back.
"""

from __future__ import annotations

import os
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.metadata import Distribution

LISTED, LEFT = "console_scripts", "accel_cli.shared_scripts"


class Scripts:
    """The console scripts of one distribution."""

    def __init__(self, distribution: Distribution) -> None:
        self.name: str = distribution.name
        self.site = Path(str(distribution.locate_file(""))).resolve()
        """The folder that the distribution is installed in."""
        self._paths = [Path(os.path.normpath(self.site / str(file))) for file in distribution.files or ()]
        points = distribution.entry_points
        self.own = {point.name for point in points.select(group=LISTED)}
        """The names of the scripts that are deleted with the distribution."""
        self.targets = {
            point.name: (point.module, point.attr, point.module.partition(".")[0])
            for group in (LEFT, LISTED)
            for point in points.select(group=group)
        }
        """For each script the module and the function that it runs, and the module's package."""

    @classmethod
    def of(cls, name: str) -> Scripts | None:
        """Return the scripts of a distribution; None if it isn't installed."""
        from importlib.metadata import PackageNotFoundError, distribution

        try:
            return cls(distribution(name))
        except PackageNotFoundError:
            return None

    def folder(self, script: str) -> Path | None:
        """Return the folder with this script, by what was installed."""
        return next((path.parent for path in self._paths if path.name == script and path.is_file()), None)

    def leave(self, scripts: Sequence[Path]) -> None:
        """Let these scripts stay when the distribution is uninstalled.

        Raises:
            AccelError: a file can't be written.
        """
        self._move(scripts, LISTED, LEFT)

    def list(self, scripts: Sequence[Path]) -> None:
        """Let these scripts be deleted with the distribution.

        Raises:
            AccelError: a file can't be written.
        """
        self._move(scripts, LEFT, LISTED)

    def _move(self, scripts: Sequence[Path], source: str, target: str) -> None:
        record = next(path for path in self._paths if path.name == "RECORD")
        points = record.with_name("entry_points.txt")
        names = {path.name for path in scripts}
        replace(points, _moved(points.read_text(encoding="utf-8"), names, source, target))
        listed = [points, *(scripts if target == LISTED else ())]
        replace(record, self._recorded(record, {*scripts, points}, listed))

    def _recorded(self, record: Path, without: set[Path], listed: Iterable[Path]) -> str:
        """Return a RECORD's text without the rows of some files, and with new rows for those that are listed."""
        import csv
        import io

        written = io.StringIO()
        rows = csv.writer(written, lineterminator="\n")
        for row in csv.reader(record.read_text(encoding="utf-8").splitlines()):
            if row and Path(os.path.normpath(self.site / row[0])) not in without:
                rows.writerow(row)
        for path in listed:
            rows.writerow([os.path.relpath(path, self.site), *_digest(path)])
        return written.getvalue()


def replace(path: Path, text: str) -> None:
    """Replace a file that an installer may have linked to its cache, so that the file there isn't changed.

    Raises:
        AccelError: it can't be written.
    """
    from accel_config.writing import storage

    if path.is_symlink():
        path.unlink()
    storage.save(str(path), text.encode())


def _moved(text: str, names: set[str], source: str, target: str) -> str:
    """Return the text of entry_points.txt with entries of a group in another."""
    from configparser import ConfigParser
    from io import StringIO

    class Points(ConfigParser):
        """The entries' names as they are written."""

        def optionxform(self, optionstr: str) -> str:
            return optionstr

    points = Points(delimiters=("=",), interpolation=None)
    points.read_string(text)
    for group in (source, target):
        if not points.has_section(group):
            points.add_section(group)
    for name in names & set(points.options(source)):
        points.set(target, name, points.get(source, name))
        points.remove_option(source, name)
    for group in (source, target):
        if not points.options(group):
            points.remove_section(group)
    written = StringIO()
    points.write(written)
    return written.getvalue()


def _digest(path: Path) -> tuple[str, str]:
    """Return the hash and the size of a file, as a RECORD has them."""
    from base64 import urlsafe_b64encode
    from hashlib import sha256

    content = path.read_bytes()
    return f"sha256={urlsafe_b64encode(sha256(content).digest()).rstrip(b'=').decode()}", str(len(content))
