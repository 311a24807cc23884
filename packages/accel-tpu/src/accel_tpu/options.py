"""The flags of this package's own commands; flags of settings take their names and help from the catalogue."""

from __future__ import annotations

import argparse
import os

from accel_config import CATALOGUE, Origin, Typed, Value, layers, resolve
from accel_config.settings.origin import FLAG
from accel_config.showing import arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_config.settings.declaration import Setting
    from accel_config.settings.resolved import Settings

POD = ("config_file", "tpu_name", "tpu_zone", "vm", "env", "tpu_use_sudo", "grace")
"""Every command on a pod has a flag for each of these settings."""


class Parser(arguments.Parser):
    """A parser that accepts each flag with underscores and with hyphens, and no abbreviations."""

    def __init__(self, program: str, description: str, **options: str) -> None:
        """Add the flags that all commands on a pod have in common."""
        from accel_tpu import __version__

        super().__init__(
            prog=program,
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,  # pyright: ignore[reportArgumentType]
        )
        self.names: dict[str, tuple[Setting, str]] = {}
        for name in POD:
            self.setting(name)
        self.add_argument(
            "--worker",
            default="all",
            metavar="WORKERS",
            help="Workers to run on: all, or numbers such as 0,3 or 0-3. [default: all]",
        )
        self.switch("--use_alpha", help="Use gcloud's alpha track.")
        self.switch("--dry_run", "--debug", help="Print the gcloud command, ready to paste, and run nothing.")
        self.add_argument(
            "--version",
            action="version",
            version=f"accel-tpu {__version__}",
            help="Print the version of accel-tpu and exit.",
        )

    def setting(self, name: str, flag: str = "") -> None:
        """Add the flag of the setting ``name``; ``flag`` replaces the flag's name."""
        one = CATALOGUE.by_name[name]
        flag = flag or f"--{name}"
        self.names[name] = (one, flag)
        spellings = dict.fromkeys((flag, flag[:2] + flag[2:].replace("_", "-")))
        if one.switch:
            self.add_argument(*spellings, dest=name, action="store_true", default=None, help=one.help)
        else:
            action = "append" if one.many else "store"
            self.add_argument(*spellings, dest=name, action=action, metavar=flag[2:].upper(), help=one.help)

    def switch(self, *flags: str, help: str) -> None:  # noqa: A002
        """Add a flag that takes no value."""
        spellings = [spelling for flag in flags for spelling in (flag, flag[:2] + flag[2:].replace("_", "-"))]
        self.add_argument(*dict.fromkeys(spellings), action="store_true", help=help)

    def settings(self, parsed: argparse.Namespace) -> Settings:
        """Return the settings from the typed flags, the environment and the config file.

        Raises:
            AccelError: a value isn't valid.
        """
        values: dict[str, Value] = {}
        for name, (one, flag) in self.names.items():
            raw = getattr(parsed, name)
            if raw is not None:
                origin = Origin(flag, FLAG)
                values[name] = Value(one.parse(raw, origin), origin)
        found = layers(CATALOGUE, Typed(values, (), help=False, notes=()), os.environ)
        return resolve(CATALOGUE, found.values, found.notes)
