"""`accelerate`: reads the command's name, imports that one command, and hands it the rest."""

from __future__ import annotations

import sys

from .table import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

USAGE_ERROR = 2
INTERRUPTED = 130
READER_GONE = 141  # 128 + SIGPIPE
PARTS = ("config", "launch", "estimate", "tpu", "sagemaker")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` names; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    return _to_the_end(lambda: _named(words), "accelerate")


def run(name: str, words: list[str], program: str) -> int:
    """Run the command ``name`` with ``words``, called ``program`` in its messages and its help; return the status."""
    return _to_the_end(lambda: _command(name, words, program), program)


def _named(words: list[str]) -> int:
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
    return _command(words[0], words[1:], f"accelerate {words[0]}")


def _command(name: str, words: list[str], program: str) -> int:
    """Import the command ``name`` alone, and run it."""
    from importlib import import_module

    return import_module(COMMANDS[name][0]).main(words, program)


def _to_the_end(command: Callable[[], int], program: str) -> int:
    """Run a command until what it printed is out; return its status, whatever goes away in the meantime."""
    try:
        status = command()
        if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]
            sys.stdout.flush()
        return status
    except ModuleNotFoundError as error:
        part = (error.name or "").partition(".")[0].removeprefix("accel_")
        if part not in PARTS:
            raise
        return _fail(program, f"this needs accel-{part}: pip install accel-{part}")
    except BrokenPipeError:
        _discard()
        return READER_GONE
    except KeyboardInterrupt:
        return INTERRUPTED


def _discard() -> None:
    """Let what is left in the streams go nowhere: the interpreter writes it as it ends."""
    import os

    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


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

    for name in ("cli", *PARTS):
        try:
            print(f"accel-{name} {version(f'accel-{name}')}")
        except PackageNotFoundError:
            print(f"accel-{name} isn't installed")
    return 0
