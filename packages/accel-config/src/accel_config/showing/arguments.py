"""The parser of commands that take no settings of a launch."""

from __future__ import annotations

from argparse import ArgumentParser

from accel_config.printable import one_line
from accel_config.showing.masking import sentence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Action
    from typing import Any, NoReturn


class Parser(ArgumentParser):
    """A parser whose messages quote the words of the command line with escapes."""

    def _get_values(self, action: Action, arg_strings: list[str]) -> Any:
        """Return an option's value. Before Python 3.13, argparse takes the value of ``--flag=--`` for a separator."""
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            return self._get_value(action, "--")
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message; exit with status 2."""
        super().error(one_line(sentence(message)))
