"""Runs a module as ``python -m`` does, but finds nothing in the current folder: ``python module.py NAME ARGUMENTS``.

A file of the user's that is called pickle.py is for the user's script, not for another launcher that starts it. The
option ``-P`` does that since Python 3.11, and the ranks' interpreter may be older.

Torch's agent needs a folder for logs up to torch 2.5, and gets one for as long as it runs; later ones take /dev/null.
"""

from __future__ import annotations

import os
import sys

AGENT = "torch.distributed.run"
NO_LOGS = f"--log-dir={os.devnull}"
SCRATCH = "ACCEL_SCRATCH"
"""The variable with the path of a folder that this program may create, and that the launcher removes too."""
TAKES_NONE = (2, 6)  # torch's version from which on its agent takes /dev/null


def main() -> None:
    """Run the module of the command line."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [folder for folder in sys.path if folder != here]
    del sys.argv[0]
    import runpy

    folder = log_folder() if sys.argv[0] == AGENT and NO_LOGS in sys.argv else ""
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    finally:
        if folder:
            import shutil

            shutil.rmtree(folder, ignore_errors=True)


def log_folder() -> str:
    """Give an old agent a folder for logs, and return it; return an empty text where none is needed."""
    version = torch_version()
    if version >= TAKES_NONE:
        return ""
    folder = os.environ.get(SCRATCH) or scratch_path()
    try:
        os.mkdir(folder, 0o700)
    except OSError as error:
        sys.exit(f"accel: torch before 2.6 needs a folder for its agent's logs, {folder}: {error.strerror}")
    sys.argv[sys.argv.index(NO_LOGS)] = f"--log-dir={folder}"
    return folder


def torch_version() -> tuple[int, ...]:
    """Return the first two numbers of torch's version; large ones if it isn't known, or a development version."""
    words = (named_version("torch") or metadata_version("torch")).split(".")[:2]
    return tuple(int(word) for word in words if word.isdecimal() and len(word) < 9) or (99,)  # noqa: PLR2004


def named_version(distribution: str) -> str:
    """Return the version by the name of the distribution's folder: the module for metadata takes 50 ms to load."""
    for path in sys.path:
        try:
            names = os.listdir(path or ".")
        except OSError:
            continue
        for name in names:
            begin, _, rest = name.partition("-")
            if begin == distribution and rest.endswith(".dist-info"):
                return rest[: -len(".dist-info")]
    return ""


def metadata_version(distribution: str) -> str:
    """Return the version that the metadata say, empty if there are none, or broken ones."""
    from importlib.metadata import version

    try:
        return version(distribution) or ""
    except (ImportError, LookupError, OSError, ValueError):
        return ""


def scratch_path() -> str:
    """Return a path for such a folder, which nothing has yet."""
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", f"accel-{os.urandom(8).hex()}")  # noqa: S108


if __name__ == "__main__":
    main()
