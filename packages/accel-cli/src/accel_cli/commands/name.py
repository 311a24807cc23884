"""`name`: shows whose `accelerate` is, and gives the name to this command or to Hugging Face's."""

from __future__ import annotations

from accel_config import front

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None, program: str = "accel name") -> int:
    """Show or change the owner of the name; return the exit status."""
    return front.run(lambda words: _name(words, program), argv, program)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(
        program,
        "Show which distribution the command accelerate belongs to, accel-cli or Hugging Face's accelerate; or let "
        "it belong to this one (take) or to Hugging Face's (give). After take or give, uninstalling either leaves "
        "the command to the other.",
    )
    found.add_argument("to_do", nargs="?", choices=("take", "give"), metavar="take|give")
    return found


def _name(words: list[str], program: str) -> int:
    from accel_cli.ownership import OURS, THEIRS, hand_over, owner
    from accel_config.showing.console import show

    to_do: str | None = parser(program).parse_args(words).to_do
    if to_do is None:
        show(_shown())
        return 0
    for path in hand_over(OURS if to_do == "take" else THEIRS):
        show(f"{path} belongs to {owner(str(path))}\n")
    return 0


def _shown() -> str:
    import shutil

    from accel_cli.ownership import ALWAYS_OURS, OURS, THEIRS, deleted_with, owner
    from accel_cli.scripts import Scripts

    path = shutil.which("accelerate")
    if path is None:
        ours = Scripts.of(OURS)
        folder = ours.folder(ALWAYS_OURS) if ours else None
        if folder is not None and (folder / "accelerate").is_file():
            return f"there is no accelerate on PATH; ours is {folder / 'accelerate'}\n"
        return "there is no accelerate on PATH; run: accel name take\n"
    owned, listed = owner(path), deleted_with(path)
    text = f"{path} belongs to {owned}\n"
    if Scripts.of(OURS) and Scripts.of(THEIRS):
        word = "give" if owned == THEIRS else "take"
        text += "".join(f"uninstalling {name} deletes it; run: accel name {word}\n" for name in listed)
    return text
