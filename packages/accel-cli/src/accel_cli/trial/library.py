"""The checks of Hugging Face's accelerate, run function by function through its own script."""

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

    from accel_cli.trial.record import Recorder

SCRIPT = "accelerate.test_utils.scripts.test_script"
SHOWN = 5  # lines of a failing check's output


def run(recorder: Recorder, folder: Path) -> int:
    """Run the library's script; return the rank's exit status."""
    from importlib import import_module

    module: Any = import_module(SCRIPT)

    def recorded(name: str, check: Callable[..., object]) -> Callable[..., object]:
        """Return a check that records itself; a failure ends the script, as it does in the library."""

        def call(*values: object, **named: object) -> None:
            options = "".join(f", {key} {value}" for key, value in named.items())

            def quietly() -> None:
                printed = io.StringIO()
                try:
                    with contextlib.redirect_stdout(printed):
                        check(*values, **named)
                except BaseException:
                    sys.stderr.write("".join(printed.getvalue().splitlines(keepends=True)[-SHOWN:]))
                    raise

            if not recorder.run(words(name) + options, quietly):
                raise SystemExit(1)

        return call

    # Every function of the script that its main calls is a check, in this version and the next.
    for name in module.main.__code__.co_names:
        function = getattr(module, name, None)
        if isinstance(function, FunctionType) and function.__module__ == SCRIPT:
            setattr(module, name, recorded(name, function))
    if folder.is_dir():
        os.chdir(folder)  # the library's checks write files, which must not mix with those of another run
    with contextlib.redirect_stdout(io.StringIO()):
        module.main()
    recorder.write(name="", state="end", library="")
    return 0


def words(name: str) -> str:
    """Return the words of a check's name."""
    return "library: " + name.removeprefix("test_").removeprefix("check_").removesuffix("_check").replace("_", " ")
