"""`completion`: the script that teaches a shell our commands. A Tab then starts nothing of ours."""

from __future__ import annotations

import sys

from accel_cli.table import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = 2


def main(argv: Sequence[str] | None = None, program: str = "accelerate completion") -> int:
    """Print the script for the shell that is named; return the exit status."""
    from argparse import ArgumentParser

    from accel_config.completion import SHELLS, script
    from accel_config.console import show
    from accel_config.errors import AccelError

    parser = ArgumentParser(program, description="Print a shell's completion script for accelerate.")
    parser.add_argument("shell", choices=sorted(SHELLS))
    try:
        shell: str = parser.parse_args(sys.argv[1:] if argv is None else list(argv)).shell
    except SystemExit as stop:  # argparse has said why, or printed the help
        return USAGE if stop.code is None else int(stop.code)
    try:
        show(script(shell, "accelerate", {name: _words(name) for name in COMMANDS}))
    except AccelError as error:
        print("".join(f"{program}: {line}\n" for line in str(error).splitlines()), end="", file=sys.stderr)
        return error.status
    return 0


def _words(name: str) -> dict[str, list[str]]:
    """Return the words of a command: of launch from the catalogue, of any other those that its help shows."""
    from accel_config import CATALOGUE
    from accel_config.completion import SHELLS, launch_words

    if name == "launch":
        return launch_words(CATALOGUE)
    if name == "completion":
        return {shell: [] for shell in sorted(SHELLS)}
    if name == "config":
        return _config_words()
    return _flags(_help(name))


def _config_words() -> dict[str, list[str]]:
    """Return the commands of `config`, what `get` and `set` take, and the flags of all of them."""
    from accel_config import CATALOGUE
    from accel_config.cli import COMMANDS as CONFIG

    commands = [word for word, (_run, help_line, _declare) in CONFIG.items() if help_line]
    keys = [one.key for one in CATALOGUE.settings if one.key and not one.deprecated]
    found = {word: keys if word in ("get", "set") else [] for word in commands}
    return found | _flags(_help("config") + "".join(_help("config", word) for word in commands))


def _help(name: str, *words: str) -> str:
    """Return what the command prints for --help; nothing where it isn't installed."""
    import io
    from contextlib import redirect_stdout
    from importlib import import_module

    text = io.StringIO()
    try:
        with redirect_stdout(text):
            import_module(COMMANDS[name][0]).main([*words, "--help"], f"accelerate {name}")
    except (ModuleNotFoundError, SystemExit):
        pass
    return text.getvalue()


def _flags(text: str) -> dict[str, list[str]]:
    """Return the flags that a help shows, with the values that stand in braces after them."""
    import re

    found = re.findall(r"(?<![\w-])(--[a-z][a-z0-9_-]*)(?: \{([\w,-]+)\})?", text)
    values = {flag.replace("-", "_"): braces.split(",") for flag, braces in found if braces}  # of either spelling
    return {flag: values.get(flag.replace("-", "_"), []) for flag in sorted({flag for flag, _braces in found})}
