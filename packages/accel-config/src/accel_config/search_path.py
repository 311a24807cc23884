"""Where a command finds modules: never in the current folder, where a script's own pickle.py may be."""

import os
import sys


def leave_current_folder() -> None:
    """Remove the folder that ``python -m`` has put first on `sys.path`."""
    try:
        current = os.getcwd()
    except OSError:
        return
    if not sys.flags.safe_path and sys.path[:1] == [current]:
        del sys.path[0]
