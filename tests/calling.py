"""A command of ours, called in a fork of the tests' process: as users call it, at a hundredth of a start's cost."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

SECONDS = 30


class Called(NamedTuple):
    """What became of it."""

    status: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Both streams."""
        return (self.out + b"\n" + self.err).decode(errors="replace")


def call(words: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None) -> Called:
    """Call ``accelerate`` with these words in ``folder``, with an empty home there and ``environ`` besides.

    A traceback has status 70, and a command that takes longer than `SECONDS` has that of SIGALRM.
    """
    _import_commands()
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, Path(os.devnull).open("rb") as nothing:
        pid = os.fork()
        if not pid:
            _become([nothing.fileno(), out.fileno(), err.fileno()])
            _run(words, folder, {**kept, "HF_HOME": str(folder / "hf"), **(environ or {})})
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0)
        err.seek(0)
        return Called(status, out.read(), err.read())


@cache
def _import_commands() -> None:
    """Import once what each fork would import anew."""
    from accel_cli.table import COMMANDS

    for module, *_more in COMMANDS.values():
        import_module(module)


def _become(streams: Sequence[int]) -> None:
    for place, fd in enumerate(streams):
        os.dup2(fd, place)
    sys.stdin, sys.stdout, sys.stderr = (
        open(place, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        for place, (mode, errors) in enumerate((("r", "strict"), ("w", "strict"), ("w", "backslashreplace")))
    )


def _run(words: Sequence[str], folder: Path, environ: Mapping[str, str]) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    status = 70
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        from accel_cli.main import main

        status = main(list(words))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
