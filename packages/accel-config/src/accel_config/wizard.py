"""New config files: by questions, or by what suits the machine."""

from __future__ import annotations

import os
import sys

from . import makers, spelling, storage
from .catalogue import CATALOGUE
from .console import show
from .edit import content_of
from .errors import AccelError
from .files import parse
from .interview import Interview, Proposals
from .machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .interview import Asker
    from .origin import Value

LEFT_ALONE = 1
UNMADE = 1


def wizard(path: str, program: str, *, yes: bool, overwrite: bool) -> int:
    """Ask, write the file at ``path``, show it and how to launch with it; return the exit status.

    Raises:
        AccelError: there is nobody to ask, or the file can't be written.
    """
    asker = _asker(program, yes=yes)
    if yes:
        return _write(path, _text(path), program, overwrite=overwrite)
    there = os.path.exists(path)
    if there and not overwrite and not asker.confirm(f"{path} exists. Replace it at the end?", False):
        show(f"{path} is left as it is; `{program} set KEY VALUE` changes single settings\n")
        return LEFT_ALONE
    interview = Interview(
        asker, Machine.here(), earlier=_earlier(asker, path) if there else None, makers=makers.names()
    )
    text = spelling.document(interview.run(), path)
    unmade = _make(interview)
    _write(path, text, program, overwrite=True)
    for line in interview.told:
        show(f"{line}\n")
    for line in unmade:
        print(f"{program}: {line}", file=sys.stderr)
    return UNMADE if unmade else 0


def default(path: str, precision: str, program: str, *, overwrite: bool) -> int:
    """Write a file that suits this machine, computing in ``precision``; return the exit status.

    Raises:
        AccelError: the file can't be written.
    """
    text = _text(path, {"mixed_precision": precision})
    return _write(path, text, program, overwrite=overwrite, shown=False)


def _asker(program: str, *, yes: bool) -> Asker:
    if yes:
        return Proposals()
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise AccelError(
            f"there is no terminal to ask questions on: `{program} --yes` takes what is proposed, "
            f"and `{program} set KEY VALUE` changes settings one by one"
        )
    from .prompts import Terminal

    return Terminal()


def _text(path: str, fixed: dict[str, object] | None = None) -> str:
    """Return the text of a file that suits this machine."""
    return spelling.document(Interview(Proposals(), Machine.here(), fixed).run(), path)


def _earlier(asker: Asker, path: str) -> Mapping[str, Value]:
    """Return what the file says that is to be replaced; nothing where it can't be read."""
    try:
        return parse(CATALOGUE, content_of(path), path).values
    except AccelError as error:
        asker.say(f"{error}\nso nothing of it is proposed")
        return {}


def _make(interview: Interview) -> list[str]:
    """Make what the answers name and isn't there yet; return why something can't be made."""
    unmade: list[str] = []
    for one in interview.to_make():
        settings = interview.settings()
        try:
            interview.told += makers.make(one.name, settings)
        except AccelError as error:
            way = f"make it, or name another with `set {one.key}`; the file is written all the same"
            unmade.append(f"{settings.value(one.name).value} isn't made: {error}; {way}")
    return unmade


def _write(path: str, text: str, program: str, *, overwrite: bool, shown: bool = True) -> int:
    with storage.locked(path):
        if os.path.exists(path) and not overwrite:
            return _left_alone(path, text)
        storage.replace(path, text.encode())
    if shown:
        show("\n" + "".join(f"    {line}\n" for line in text.splitlines()) + "\n")
        show(f"Launch with it: {_launch(path, program)}\n")
    show(f"The config file is saved at {path}\n")
    return 0


def _left_alone(path: str, text: str) -> int:
    """Say that the file isn't touched; fine if it says the same."""
    with open(path, "rb") as file:
        there = parse(CATALOGUE, file.read(), path)
    wanted = parse(CATALOGUE, text.encode(), path)
    same = not there.problems and {name: one.value for name, one in there.values.items()} == {
        name: one.value for name, one in wanted.values.items()
    }
    if same:
        show(f"{path} says so already\n")
        return 0
    print(f"{path} exists and says something else, so it is left alone: --overwrite replaces it", file=sys.stderr)
    return LEFT_ALONE


def _launch(path: str, program: str) -> str:
    import shlex

    from .layers import default_path

    command = program.rpartition(" ")[0]
    start = f"{command} launch" if command else "accel-launch"
    file = [] if path == default_path(os.environ) else ["--config_file", shlex.quote(path)]
    return " ".join([start, *file, "SCRIPT"])
