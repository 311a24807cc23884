"""The parser of commands that take no settings of a launch."""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentTypeError

from accel_config.showing import arguments, console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Any


class Parser(arguments.Parser):
    """A parser that accepts each flag with underscores and with hyphens, and prints the version."""

    def __init__(self, program: str, description: str) -> None:
        super().__init__(program, description=description)
        shown: dict[str, Any] = {"action": _Version, "nargs": 0, "dest": SUPPRESS, "default": SUPPRESS}
        self.add_argument("--version", help="Print the version of accel-cli and exit.", **shown)

    def run(self) -> None:
        """Add the argument that names a run; None for the newest."""
        text = "Name of a run, the beginning of one, or the pid of its launcher or of a rank; the newest by default."
        self.add_argument("run", nargs="?", type=_named, help=text)

    def runs(self) -> None:
        """Add the argument that names several runs."""
        text = "Names of runs, beginnings of names, or pids of launchers or ranks; the newest by default."
        self.add_argument("run", nargs="*", type=_named, help=text)

    def flag(self, name: str, **options: Any) -> None:
        """Add the flag ``name``, such as ``--config_file``, in both spellings."""
        self.add_argument(*dict.fromkeys((name, "--" + name[2:].replace("_", "-"))), **options)


def _named(word: str) -> str:
    """Take a word that may name a run: argparse takes ``-9`` for one of those that aren't flags."""
    if word.startswith("-"):
        raise ArgumentTypeError(f"{word!r} isn't a flag, and no run is named so")
    return word


class _Version(Action):
    """Prints the version, which takes longer to find out than most commands."""

    def __call__(self, parser: ArgumentParser, *_words: object) -> None:
        from accel_cli import __version__

        console.show(f"accel-cli {__version__}\n")
        parser.exit()
