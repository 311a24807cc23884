"""`completion`: prints the script with which a shell completes our commands, made from their declarations."""

from __future__ import annotations

from accel_cli.table import COMMANDS
from accel_config import front

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

PROGRAMS = ("accelerate", "accel")


def main(argv: Sequence[str] | None = None, program: str = "accelerate completion") -> int:
    """Print the script for the shell that is named; return the exit status."""
    return front.run(lambda words: _print(words, program), argv, program)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser
    from accel_config.showing.completion import SHELLS

    found = Parser(program, "Print a shell's completion script for accelerate and accel.")
    found.add_argument("shell", choices=sorted(SHELLS))
    return found


def _print(words: list[str], program: str) -> int:
    from accel_config.showing.completion import script
    from accel_config.showing.console import data

    shell: str = parser(program).parse_args(words).shell
    data(script(shell, PROGRAMS, {name: _words(name) for name in COMMANDS}))
    return 0


def _words(name: str) -> dict[str, list[str]]:
    """Return the words of a command, each with the words that can follow it; none if it isn't installed."""
    from importlib import import_module

    from accel_config import CATALOGUE
    from accel_config.showing.completion import argument_words, launch_words

    try:
        module = import_module(COMMANDS[name][0])
    except ModuleNotFoundError:
        return {}
    if name == "launch":
        return launch_words(CATALOGUE)
    if name == "test":  # whose help has no topics
        return {**launch_words(CATALOGUE), "--help": []}
    if name == "sagemaker":
        return {"launch": [], **{command: [] for command in module.COMMANDS}, **launch_words(CATALOGUE)}
    found = argument_words(module.parser(f"accelerate {name}"))
    if name == "config":
        keys = [one.key for one in CATALOGUE.settings if one.key and not one.deprecated]
        found |= {"get": keys, "set": keys}
    return found
