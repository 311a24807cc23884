"""The owner of the scripts that Hugging Face's distribution has too, such as `accelerate`: the later one wins.

Two distributions can't own one file: uninstalling either deletes it. So `hand_over` writes scripts that run the one,
or the other where the one isn't installed, and lets neither distribution list them as its own.
"""

from __future__ import annotations

from pathlib import Path

from accel_cli.scripts import Scripts, replace
from accel_config.errors import FAILED, AccelError

OURS, THEIRS = "accel-cli", "accelerate"
ALWAYS_OURS = "accel"
"""Our script that no other distribution has. Its first lines are those that scripts of this environment need."""
LARGEST = 10_000  # bytes; installers write scripts of a few hundred bytes
BOTH = """\
# Written by `accel name {word}`. Neither distribution owns it, so uninstalling one leaves it to the other.
import sys

try:
    from {first[0]} import {first[1]} as main
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] != "{first[2]}":
        raise
    try:
        from {second[0]} import {second[1]} as main
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] != "{second[2]}":
            raise
        sys.exit(f"{{sys.argv[0]}}: neither accel-cli nor accelerate is installed; delete this file")
sys.exit(main())
"""
ALONE = """\
import sys
from {first[0]} import {first[1]} as main
sys.exit(main())
"""


def owner(script: str) -> str:
    """Return the distribution whose entry point the script at the path runs, or `unknown`.

    Installers write a few lines that import the entry point. Nothing else in an environment distinguishes two
    distributions with scripts of the same name.
    """
    path = Path(script)
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(LARGEST)
    except OSError:
        return "unknown"
    places: dict[int, str] = {}
    for scripts in filter(None, map(Scripts.of, (OURS, THEIRS))):
        if path.name in scripts.targets:
            places[text.find(f"from {scripts.targets[path.name][0]} import ")] = scripts.name
    places.pop(-1, None)
    return places[min(places)] if places else "unknown"


def deleted_with(script: str) -> list[str]:
    """Return the distributions whose uninstallation deletes the script."""
    name = Path(script).name
    return [scripts.name for scripts in filter(None, map(Scripts.of, (OURS, THEIRS))) if name in scripts.own]


def hand_over(first: str) -> list[Path]:
    """Let the scripts that both distributions have run ``first``, which is one of them; return these scripts.

    Where only accel-cli is installed, they become its own, as if it had just been installed.

    Raises:
        AccelError: Hugging Face's distribution isn't there to get the name, or a file can't be written.
    """
    ours, theirs = Scripts.of(OURS), Scripts.of(THEIRS)
    if ours is None or ours.folder(ALWAYS_OURS) is None:
        raise AccelError("accel-cli isn't installed with its scripts here", status=FAILED)
    if theirs is None and first == THEIRS:
        raise AccelError("Hugging Face's accelerate isn't installed here, so the name can't be given to it")
    if theirs is not None and theirs.site != ours.site:
        raise AccelError(
            f"accel-cli is in {ours.site} and Hugging Face's accelerate in {theirs.site}: each has scripts of its "
            "own, and the order of PATH decides",
            status=FAILED,
        )
    folder = ours.folder(ALWAYS_OURS) or Path()
    head = _head(folder / ALWAYS_OURS)
    names = [name for name in ours.targets if name != ALWAYS_OURS and (theirs is None or name in theirs.targets)]
    for name in names:
        text = ALONE.format(first=ours.targets[name])
        if theirs is not None:
            sides = (ours.targets[name], theirs.targets[name])
            one, other = sides if first == OURS else sides[::-1]
            text = BOTH.format(word="take" if first == OURS else "give", first=one, second=other)
        replace(folder / name, head + text)
        (folder / name).chmod(0o755)
    paths = [folder / name for name in names]
    if theirs is None:
        ours.list(paths)
    else:
        ours.leave(paths)
        theirs.leave(paths)
    return paths


def _head(script: Path) -> str:
    """Return the first lines of a script: what starts its interpreter, which installers write in several ways."""
    lines = script.read_text(encoding="utf-8").splitlines(keepends=True)
    until = next((place for place, line in enumerate(lines) if line.startswith(("import ", "from ", "# -*-"))), 1)
    return "".join(lines[:until])
