"""`accelerate`: reads the name of a command, imports that command alone, and runs it with the other words."""

from __future__ import annotations

import os
import sys

from accel_cli.table import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PARTS = ("config", "launch", "estimate", "tpu", "sagemaker")
REMOVING = ("rm", "remove", "delete", "prune")
KEPT = (
    "; records of runs go by --record_age and --record_count of launch, or delete the folder of a run that has ended "
    "below $XDG_STATE_HOME/accel/runs (by default ~/.local/state/accel/runs)"
)
"""For who looks for a command that removes runs."""
USAGE = 2  # as in accel_config.errors, which may be what is missing


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` names; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    program = " ".join([_called(), *(word for word in words[:1] if word in COMMANDS)])
    return _run(lambda words: _named(words, program), words, program)


def _called() -> str:
    """Return the name that the command was called by, as help and messages repeat it."""
    return "accel" if sys.argv[:1] and sys.argv[0].rpartition("/")[2] == "accel" else "accelerate"


def run(name: str, words: list[str], program: str) -> int:
    """Run the command ``name``, called ``program`` in messages and help, with ``words``; return the exit status."""
    return _run(lambda words: _command(name, words, program), words, program)


def _run(command: Callable[[list[str]], int], words: list[str], program: str) -> int:
    """Run ``command`` through the front that all packages share; if a package is missing, print which one."""
    _die_by_interrupts()
    try:
        from accel_config import front

        return front.run(command, words, program)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0].replace("_", "-")
        if missing not in {f"accel-{part}" for part in PARTS}:
            raise
        if words[:1] in (["-V"], ["--version"]):  # which also shows what is missing
            return _versions()
        sys.stderr.write(f"{program}: {missing} isn't installed; {_remedy(missing)}\n")
        return USAGE


def _remedy(missing: str) -> str:
    """Return what to type to install a missing package."""
    try:
        from accel_config.showing.installing import command
    except ModuleNotFoundError:  # accel-config is the missing one
        return "install accel-cli again, with its dependencies"
    return f"run: {command(missing)}"


def _named(words: list[str], program: str) -> int:
    """Run the command that the first of ``words`` names.

    Raises:
        AccelError: there is no such command.
    """
    if not words:
        sys.stderr.write(_help())
        return USAGE
    name, *rest = words
    if name in ("-V", "--version"):
        return _versions()
    if name in ("-h", "--help", "help"):
        print(_help(), end="")
        return 0
    if name not in COMMANDS:
        from accel_config.errors import AccelError, nearest

        raise AccelError(f"{name!r} isn't a command{KEPT if name in REMOVING else nearest(name, COMMANDS)}")
    return _command(name, rest, program)


def _command(name: str, words: list[str], program: str) -> int:
    """Import the module of the command ``name``, and run it."""
    module = __import__(COMMANDS[name][0], fromlist=("main",))  # without importing `importlib`
    if name != "launch":  # which decides itself
        _raise_interrupts()
    return module.main(words, program)


def _die_by_interrupts() -> None:
    """Let Ctrl-C end the process quietly while the command is imported, as it ends programs that don't handle it."""
    signals = __import__("_signal")  # `signal` wraps it in enums, whose import costs more than the rest of this
    # As pid 1 it would be immortal: the kernel passes over what that process doesn't handle.
    if os.getpid() != 1 and signals.getsignal(signals.SIGINT) is signals.default_int_handler:
        signals.signal(signals.SIGINT, signals.SIG_DFL)


def _raise_interrupts() -> None:
    """Let Ctrl-C raise an exception, which the commands handle, unless whoever started us ignores it."""
    signals = __import__("_signal")
    if signals.getsignal(signals.SIGINT) == signals.SIG_DFL:
        signals.signal(signals.SIGINT, signals.default_int_handler)


def _help() -> str:
    program = _called()
    wide = max(len(name) for name in COMMANDS)
    commands = "".join(f"  {name:<{wide}}  {line}\n" for name, (_module, line) in COMMANDS.items())
    return (
        f"usage: {program} COMMAND [arguments]\n\n"
        "Configure, start and understand training runs.\n\n"
        f"commands:\n{commands}\n"
        f"{program} COMMAND --help shows a command's arguments; {program} --version shows the installed packages.\n"
    )


def _versions() -> int:
    from importlib.metadata import PackageNotFoundError, version

    for name in ("cli", *PARTS):
        try:
            print(f"accel-{name} {version(f'accel-{name}')}")
        except PackageNotFoundError:
            print(f"accel-{name} isn't installed")
    return 0
