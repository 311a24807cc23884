"""The parser of commands that take no settings of a launch."""

from __future__ import annotations

from accel_config.showing import arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Parser(arguments.Parser):
    """A parser that accepts each flag with underscores and with hyphens, and prints the version."""

    def __init__(self, program: str, description: str) -> None:
        from accel_cli import __version__

        super().__init__(program, description=description)
        version = f"accel-cli {__version__}"
        self.add_argument(
            "--version", action="version", version=version, help="Print the version of accel-cli and exit."
        )

    def flag(self, name: str, **options: Any) -> None:
        """Add the flag ``name``, such as ``--config_file``, in both spellings."""
        self.add_argument(*dict.fromkeys((name, "--" + name[2:].replace("_", "-"))), **options)
