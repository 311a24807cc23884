"""``python …/trial/__main__.py SUITE FOLDER``: runs the checks of a suite, and records each result in the folder.

With a third argument, a mark, each result is a line on standard output that begins with it: the command that reads
them may be on another machine.
"""

from __future__ import annotations

import os
import signal
import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(suite: str, folder: str, mark: str = "") -> NoReturn:
    """Run the suite, and exit with the rank's exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # before anything slow: Ctrl-C must not print a traceback
    from pathlib import Path

    # The ranks' interpreter may have another accel_cli than the one with this file, or none. This one is found
    # without a change to sys.path, where its names could hide others.
    home = Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if path != str(home)]
    sys.modules["accel_cli"] = package = ModuleType("accel_cli")
    package.__path__ = [str(home.parent)]
    from accel_cli.trial.record import Recorder

    if mark:
        Path(folder).mkdir(parents=True, exist_ok=True)
    recorder = Recorder(Path(folder), int(os.environ.get("RANK", "0")), mark)
    if suite == "library":
        from accel_cli.trial.library import run
    else:
        from accel_cli.trial.suite import run
    status = run(recorder, Path(folder))
    if mark and os.environ.get("LOCAL_RANK", "0") == "0":
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
    # Objects that torch leaves behind (models of DDP, the library's groups) sometimes abort the process when the
    # interpreter shuts down, after every check has finished.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
