"""`accelerate`: reads the command's name, imports that one command, and hands it the rest."""

from __future__ import annotations

import sys

from .table import COMMANDS

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
        return _show(_help())
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

    module, distribution, _help_line = COMMANDS[name]
    try:
        command = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        return _fail(speaker or program, f"{name} needs {distribution}: pip install {distribution}")
    try:
        status: int = command.main(words, program)
        if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]
            sys.stdout.flush()
    except BrokenPipeError as error:
        return _unwritten(error)
    return status


def _fail(speaker: str, message: str, status: int = USAGE_ERROR) -> int:
    for line in message.splitlines():
        print(f"{speaker}: {line}", file=sys.stderr)
    return status


def _help() -> str:
    wide = max(len(name) for name in COMMANDS)
    commands = "".join(f"  {name:<{wide}}  {line}\n" for name, (_module, _distribution, line) in COMMANDS.items())
    return (
        "usage: accelerate COMMAND [arguments]\n\n"
        "Configure, start and understand training runs.\n\n"
        f"commands:\n{commands}\n"
        "accelerate COMMAND --help tells what a command takes; accelerate --version, which versions are installed.\n"
    )


def _version() -> int:
    from importlib.metadata import PackageNotFoundError, version

    lines: list[str] = []
    for name in ("cli", "config", "launch", "estimate", "tpu", "sagemaker"):
        try:
            lines.append(f"accel-{name} {version(f'accel-{name}')}\n")
        except PackageNotFoundError:
            lines.append(f"accel-{name} isn't installed\n")
    return _show("".join(lines))


def _show(text: str) -> int:
    """Print what this module says itself; accel_config, which takes longer to import, is asked only on a failure."""
    try:
        print(text, end="", flush=True)
    except OSError as error:
        return _unwritten(error)
    return 0


def _unwritten(error: OSError) -> int:
    from accel_config.console import failure

    told = failure(error)
    return _fail("accelerate", str(told), told.status)
