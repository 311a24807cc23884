"""The parser of commands that take no settings of a launch."""

from __future__ import annotations

from argparse import ArgumentParser

from accel_config.errors import USAGE, nearest
from accel_config.showing.masking import sentence
from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Action
    from typing import Any, NoReturn

SHORT = 4  # lines of a usage that are read
UNKNOWN = "unrecognized arguments: "


class Parser(ArgumentParser):
    """A parser whose messages quote the words of the command line with escapes."""

    def _get_values(self, action: Action, arg_strings: list[str]) -> Any:
        """Return an option's value. Before Python 3.13, argparse takes the value of ``--flag=--`` for a separator."""
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            return self._get_value(action, "--")
        return super()._get_values(action, arg_strings)

    def _get_option_tuples(self, option_string: str) -> list[Any]:
        """Return what an abbreviation may stand for; two spellings of one flag aren't two."""
        first: dict[int, Any] = {}
        for match in super()._get_option_tuples(option_string):
            first.setdefault(id(match[0]), match)
        return list(first.values())

    def error(self, message: str) -> NoReturn:
        """Print the message, after the usage if that is short; exit with status 2."""
        message = one_line(sentence(message))
        unknown = message.removeprefix(UNKNOWN) if message.startswith(UNKNOWN) else ""
        if unknown.startswith("-"):
            flags = [name for action in self._actions for name in action.option_strings]
            message += nearest(unknown.partition(" ")[0].partition("=")[0], flags)
        if self.format_usage().count("\n") <= SHORT:
            super().error(message)
        self.exit(USAGE, f"{self.prog}: error: {message}\n{self.prog} --help lists the flags\n")
