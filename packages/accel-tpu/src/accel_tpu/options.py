"""The flags of this package's own commands: those of settings take name and help from the catalogue."""

from __future__ import annotations

import argparse
import os
import sys

from accel_config import CATALOGUE, AccelError, Origin, Typed, Value, layers, resolve
from accel_config.origin import FLAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accel_config.section import Setting
    from accel_config.settings import Settings

POD = ("config_file", "tpu_name", "tpu_zone", "vm", "env", "tpu_use_sudo", "grace")
"""The settings that every command on a pod takes as flags."""


class Parser(argparse.ArgumentParser):
    """A parser that takes each flag with hyphens as well, and none shortened."""

    def __init__(self, program: str, description: str, **options: str) -> None:
        """Begin with the flags that all commands on a pod have in common."""
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
        self.add_argument("--worker", default="all", help="Workers to run on: all, or numbers like 0,3 or 0-3.")
        self.switch("--use_alpha", help="Use gcloud's alpha track.")
        self.switch("--dry_run", "--debug", help="Print the gcloud command, ready to paste, and run nothing.")

    def setting(self, name: str, flag: str = "") -> None:
        """Add the flag of a setting, under another name where ``flag`` gives one."""
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
        """Add a flag that stands alone."""
        spellings = [spelling for flag in flags for spelling in (flag, flag[:2] + flag[2:].replace("_", "-"))]
        self.add_argument(*dict.fromkeys(spellings), action="store_true", help=help)

    def settings(self, parsed: argparse.Namespace) -> Settings:
        """Resolve the settings: the flags that were typed, the environment, the config file.

        Raises:
            AccelError: a value can't be what it is.
        """
        values: dict[str, Value] = {}
        for name, (one, flag) in self.names.items():
            raw = getattr(parsed, name)
            if raw is not None:
                origin = Origin(flag, FLAG)
                values[name] = Value(one.parse(raw, origin), origin)
        found = layers(CATALOGUE, Typed(values, (), help=False, notes=()), os.environ)
        return resolve(CATALOGUE, found.values, found.notes)


def guarded(program: str, command: Callable[[list[str]], int], argv: Sequence[str] | None) -> int:
    """Run a command's ``main``; a refusal is one message and its status, never a traceback."""
    try:
        return command(list(sys.argv[1:] if argv is None else argv))
    except SystemExit as ended:  # argparse's way out of --help and of a wrong flag
        return int(ended.code or 0)
    except AccelError as error:
        for line in str(error).splitlines():
            print(f"{program}: {line}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
