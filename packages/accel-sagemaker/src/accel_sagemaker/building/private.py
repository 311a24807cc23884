"""What a folder doesn't send to a job: `accel_config.checking.private`, unless the folder's own list names it.

Nor does it send what its links lead to among the system's files or in another person's home.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pathspec

from accel_config.checking import private
from accel_config.errors import AccelError
from accel_config.showing.wording import line
from accel_config.system import calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

EVERYTHING = {"*", "**", "*/", "**/", "**/*", "*.*", "/*", "/**"}
"""Patterns that include whatever there is, and so name no file that somebody decided to send."""
SYSTEM = ("etc", "proc", "sys", "dev", "boot", "root")
"""Folders of a system in which no person's data are."""
NAMED = 8
"""The most files that a note names."""


class Private:
    """The files of a folder that stay here, unless the folder's own list names them with ``!``."""

    def __init__(self, includes: Sequence[str] = ()) -> None:
        self._included = pathspec.GitIgnoreSpec.from_lines(
            row[1:] for row in includes if row.startswith("!") and row[1:].strip() not in EVERYTHING
        )
        self.left_out: list[str] = []
        self.foreign: list[tuple[str, str]] = []
        """Links, each with the file of the system or of another person to which it leads."""

    def leaves_out(self, path: str) -> bool:
        """Return whether the name of a file or a folder (with a slash at its end) marks it; remember it if so."""
        found = private.named(path) and not self._included.match_file(path)
        if found:
            self.left_out.append(path)
        return found

    def leaves_out_content(self, path: str, file: Path) -> bool:
        """Return whether a file begins like a private key, or leads to what is private; remember it if so."""
        if self._included.match_file(path):
            return False
        target = file.resolve().as_posix() if file.is_symlink() else ""
        if target and _of_others(Path(target), file):
            self.foreign.append((path, target))
        elif private.named(target.lstrip("/")) or private.is_key(file):
            self.left_out.append(path)
        else:
            return False
        return True

    def notes(self, list_name: str) -> list[str]:
        """Return what to print about what is left out."""
        links = [f"{path} -> {target}" for path, target in self.foreign]
        found = [_note("by name or content they are credentials, keys or histories", self.left_out, list_name)]
        found += [_note("links lead to files of the system or of another person", links, list_name)]
        return [note for note in found if note]


def _note(why: str, found: list[str], list_name: str) -> str:
    if not found:
        return ""
    first = line(min(found).partition(" -> ")[0])
    shown = ", ".join(map(line, sorted(found)[:NAMED]))
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"not sent, because {why}: {shown}{more}; to send one, add a line such as !{first} to {list_name}"


def refuse_homes(root: Path) -> None:
    """Check that a folder isn't a person's home, one above it, or a system's.

    Raises:
        AccelError: it is; everything in it would be sent.
    """
    if what := private.too_wide(root):
        raise AccelError(
            f"{root} is {what}, and a job gets the whole folder of its script; move the script with its modules to a "
            "folder of their own, or name that with additional_args: {source_dir: ...}"
        )


def _of_others(target: Path, link: Path) -> bool:
    """Return whether a link leads out of its own person's files: into the system's, or into another home."""
    homes, top = set(map(Path, private.homes())), target.parts[1]
    inside = [home for home in homes if target.is_relative_to(home)]
    if inside:
        return False
    if top in SYSTEM:
        return True
    others = {Path(*target.parts[:3])} if top in ("home", "Users") else set[Path]()
    with suppress(OSError):
        others |= {Path(home) for home in (calls.home_of(target.stat().st_uid),) if home}
    own = link.parent.resolve()
    return any(
        home != Path("/") and target.is_relative_to(home) and not own.is_relative_to(home) for home in others - homes
    )
