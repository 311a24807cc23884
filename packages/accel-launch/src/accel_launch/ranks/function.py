"""Calls the function that `accel_launch.launch` was given, in the process of a rank.

The folder that the command line names belongs to the caller alone. The function comes from it, and what the function
returned or raised goes there, under the rank's number.
"""

import linecache
import os
import pickle
import sys
import traceback

CALL, RETURNED, RAISED = "call", "returned", "raised"
NO_RESULT = "what the function returned can't be sent to the caller"


def main(folder: str) -> None:
    """Call the function."""
    rank = os.environ.get("RANK", "0")
    for kind in (RETURNED, RAISED):
        _forget(os.path.join(folder, f"{kind}-{rank}"))
    with open(os.path.join(folder, CALL), "rb") as file:
        sys.path[:], sys.argv[:], sources = pickle.load(file)  # noqa: S301  the caller's own, in its own folder
        linecache.cache.update(sources)  # the lines of a notebook's cells, for tracebacks
        pickled = file.read()
    try:
        function, args, named = pickle.loads(pickled)  # noqa: S301  as above
        returned = _pickled(function(*args, **named))
    except SystemExit as ended:
        if not ended.code:
            return
        _keep(folder, RAISED, rank, _description(ended))
        raise
    except BaseException as error:
        _keep(folder, RAISED, rank, _description(error))
        raise
    _keep(folder, RETURNED, rank, returned)


def _pickled(value: object) -> bytes:
    """Return the value for the caller, in the way that the function came from there."""
    by_value = sys.modules.get("cloudpickle")  # imported by the function's own pickle, if that needed it
    try:
        return (by_value or pickle).dumps(value)
    except Exception as error:
        raise TypeError(f"{NO_RESULT}: {type(value).__name__}: {error}") from error


def _description(error: BaseException) -> bytes:
    """Return the exception, its type and message, and its traceback; the exception itself only if it can be sent."""
    own = error.__traceback__.tb_next if error.__traceback__ else None  # without this file's line
    text = "".join(traceback.format_exception(type(error), error, own))
    named = "".join(traceback.format_exception_only(error)).strip()
    try:
        sent = _pickled(error)
    except TypeError:
        sent = b""
    return pickle.dumps((named, text, sent))


def _forget(path: str) -> None:
    """Remove what an earlier attempt of this rank left."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _keep(folder: str, kind: str, rank: str, data: bytes) -> None:
    """Write a file whole or not at all."""
    path = os.path.join(folder, f"{kind}-{rank}")
    with open(f"{path}.part", "wb") as file:
        file.write(data)
    os.replace(f"{path}.part", path)


if __name__ == "__main__":
    main(sys.argv[1])
