"""The list of checks that Hugging Face's library brings along, run function by function through its own script."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from types import FunctionType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from .record import Recorder

SCRIPT = "accelerate.test_utils.scripts.test_script"
SHOWN = 5  # lines of what a failing check printed


def run(recorder: Recorder, folder: Path) -> int:
    """Run the library's script; return the rank's exit status."""
    from importlib import import_module

    module: Any = import_module(SCRIPT)

    def recorded(name: str, check: Callable[..., object]) -> Callable[..., object]:
        """Return a check that is recorded as it runs; a failing one ends the script, as the library means it to."""

        def call(*values: object, **named: object) -> None:
            told = "".join(f", {key} {value}" for key, value in named.items())

            def quietly() -> None:
                printed = io.StringIO()
                try:
                    with contextlib.redirect_stdout(printed):
                        check(*values, **named)
                except BaseException:
                    sys.stderr.write("".join(printed.getvalue().splitlines(keepends=True)[-SHOWN:]))
                    raise

            if not recorder.run(words(name) + told, quietly):
                raise SystemExit(1)

        return call

    # Whichever of its functions the library's main calls, of this version or the next, is a check.
    for name in module.main.__code__.co_names:
        function = getattr(module, name, None)
        if isinstance(function, FunctionType) and function.__module__ == SCRIPT:
            setattr(module, name, recorded(name, function))
    if folder.is_dir():
        os.chdir(folder)  # the library's checks write files, which must not meet those of another run
    with contextlib.redirect_stdout(io.StringIO()):
        module.main()
    recorder.write(name="", state="end", library="")
    return 0


def words(name: str) -> str:
    """Return a check's name as words."""
    return "library: " + name.removeprefix("test_").removeprefix("check_").removesuffix("_check").replace("_", " ")
