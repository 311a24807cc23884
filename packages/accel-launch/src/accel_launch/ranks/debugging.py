"""A rank under a debugger: who reads the terminal, and who waits for an editor.

``python debugging.py ADDRESS PORT RANK [-m] SCRIPT ARGUMENTS`` runs the script under debugpy, which waits for an
editor before the first line, in this rank alone; in the others it becomes the script. Where RANK is empty each of
them waits, at the port after that of the rank before: all are on one machine.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

INPUT = "ACCEL_INPUT"
"""The variable with the rank that has the terminal, and the path of the launcher's standard input."""
LAST, DEBUGPY = "last", "debugpy"


def take_input(environ: dict[str, str]) -> None:
    """Make the launcher's standard input that of this process if this is its rank; nobody else has one."""
    rank, _, path = environ.pop(INPUT, "").partition(" ")
    if not rank:
        return
    try:
        found = os.open(path if environ.get("RANK") == rank else os.devnull, os.O_RDONLY | os.O_NOCTTY)
    except OSError:  # a socket
        found = os.open(os.devnull, os.O_RDONLY)
    os.dup2(found, 0)
    os.close(found)


def main(address: str, port: str, chosen: str, script: Sequence[str]) -> None:
    """Run the script, under debugpy if this is the chosen rank, or any where none is chosen."""
    rank, total = (int(os.environ.get(name) or "0") for name in ("RANK", "WORLD_SIZE"))
    if chosen and rank != (total - 1 if chosen == LAST else int(chosen)):
        options = ["-u"] if getattr(sys.stdout, "write_through", False) else []
        os.execv(sys.executable, [sys.executable, *options, *script])
    here = os.path.dirname(os.path.abspath(__file__))
    if here in sys.path:
        sys.path.remove(here)
        # debugpy itself adds the folder as it was typed, which is another one after a chdir.
        sys.path.append(os.getcwd() if script[0] == "-m" else os.path.dirname(os.path.abspath(script[0])))
    where = f"[{address}]" if ":" in address else address
    place = f"{where}:{int(port) + (0 if chosen else rank)}"
    sys.argv[:] = [DEBUGPY, "--listen", place, "--wait-for-client", *script]
    import runpy

    tell_when(f"rank {rank}", place)
    runpy.run_module(DEBUGPY, run_name="__main__", alter_sys=True)


def tell_when(who: str, place: str) -> None:
    """Have debugpy tell when an editor can connect, and in one line why none can."""
    try:
        debugpy: Any = __import__(DEBUGPY)
    except ImportError:
        sys.stderr.write(f"accel: {DEBUGPY} isn't installed for {sys.executable}; install {DEBUGPY} there\n")
        sys.exit(2)
    listen, wait_for_client = debugpy.listen, debugpy.wait_for_client

    def listens(*given: Any, **named: Any) -> Any:
        try:
            return listen(*given, **named)
        except RuntimeError as error:
            sys.exit(f"accel: {who} can't listen for an editor at {place}: {error}")

    def waits() -> None:
        sys.stderr.write(f"accel: {who} waits for an editor at {place}\n")
        wait_for_client()

    debugpy.listen, debugpy.wait_for_client = listens, waits


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
