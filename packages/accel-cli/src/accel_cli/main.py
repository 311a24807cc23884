"""`accelerate`: reads the command's name, imports that one command, and hands it the rest."""

from __future__ import annotations

import sys

from .table import COMMANDS, PARTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` names; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in ("-V", "--version"):
        return _version()
    if words and words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return 0
    if not words:
        sys.stderr.write(_help())
        return USAGE_ERROR
    if words[0] not in COMMANDS:
        from accel_config.errors import nearest

        return _fail("accelerate", f"there is no command {words[0]!r}{nearest(words[0], COMMANDS)}")
    return run(words[0], words[1:], f"accelerate {words[0]}", "accelerate")


def run(name: str, words: list[str], program: str, speaker: str = "") -> int:
    """Import the command ``name`` and run it with ``words``; return its exit status.

    ``program`` is what its own messages and its help call it, ``speaker`` (or else that) what ours begin with.
    """
    from importlib import import_module

    try:
        return import_module(COMMANDS[name][0]).main(words, program)
    except ModuleNotFoundError as error:
        part = (error.name or "").replace("_", "-")
        if part not in PARTS:
            raise
        return _fail(speaker or program, f"{name} needs {part}: pip install {part}")


def _fail(speaker: str, message: str) -> int:
    print(f"{speaker}: {message}", file=sys.stderr)
    return USAGE_ERROR


def _help() -> str:
    wide = max(len(name) for name in COMMANDS)
    commands = "".join(f"  {name:<{wide}}  {line}\n" for name, (_module, line) in COMMANDS.items())
    return (
        "usage: accelerate COMMAND [arguments]\n\n"
        "Configure, start and understand training runs.\n\n"
        f"commands:\n{commands}\n"
        "accelerate COMMAND --help tells what a command takes; accelerate --version, which versions are installed.\n"
    )


def _version() -> int:
    from importlib.metadata import PackageNotFoundError, version

    for part in PARTS:
        try:
            print(part, version(part))
        except PackageNotFoundError:
            print(part, "isn't installed")
    return 0
