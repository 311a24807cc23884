"""``python …/trial/__main__.py SUITE FOLDER``: runs the checks of a suite, and records each in the folder."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(suite: str, folder: str) -> NoReturn:
    """Run the suite, and end with the rank's exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # before anything takes time: who types Ctrl-C needs no traceback
    from pathlib import Path

    # Started by its path, this is no package yet. As `trial`, it needs none of our packages to be installed; and the
    # folder that holds it is on the path no longer than that takes, so its names are in nobody's way.
    global __package__  # noqa: PLW0603
    home = Path(__file__).resolve().parent
    sys.path[:] = [str(home.parent), *(path for path in sys.path if path != str(home))]
    __package__ = "trial"
    from .record import Recorder

    recorder = Recorder(Path(folder), int(os.environ.get("RANK", "0")))
    if suite == "library":
        from .library import run
    else:
        from .suite import run
    del sys.path[0]
    status = run(recorder, Path(folder))
    # What torch leaves behind (models of DDP, the library's groups) now and then aborts the process as the
    # interpreter is taken down (a thread that nobody joined), when all that was to be checked has been.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
