"""`accelerate`: reads the command's name, imports that one command, and hands it the rest."""

from __future__ import annotations

import sys

from .table import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAILED, USAGE_ERROR = 1, 2
INTERRUPTED = 130
READER_GONE = 141  # 128 + SIGPIPE
PARTS = ("config", "launch", "estimate", "tpu", "sagemaker")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` names; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    called = ["accelerate", *(word for word in words[:1] if word in COMMANDS)]
    return _to_the_end(lambda: _named(words), " ".join(called))


def run(name: str, words: list[str], program: str) -> int:
    """Run the command ``name`` with ``words``, called ``program`` in its messages and its help; return the status."""
    return _to_the_end(lambda: _command(name, words, program), program)


def _named(words: list[str]) -> int:
    if words and words[0] in ("-V", "--version"):
        return _version()
    if words and words[0] in ("-h", "--help", "help"):
        print(_help(), end="")
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
        needed = (error.name or "").partition(".")[0].replace("_", "-")
        if needed not in {f"accel-{part}" for part in PARTS}:
            raise
        return _fail(program, f"this needs {needed}: pip install {needed}")
    except BrokenPipeError:
        _discard(1, 2)
        return READER_GONE
    except OSError as error:
        if error.filename is not None:  # not of a stream
            raise
        _discard(1)
        return _fail(program, f"the output can't be written: {error.strerror}", FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED


def _discard(*streams: int) -> None:
    """Let what is left in the streams go nowhere: the interpreter writes it as it ends."""
    import os

    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _fail(speaker: str, message: str, status: int = USAGE_ERROR) -> int:
    for line in message.splitlines():
        print(f"{speaker}: {line}", file=sys.stderr)
    return status


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
