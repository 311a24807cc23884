"""Python's calls among those of C: each call of the interpreter's loop stands for the calls of Python that it runs.

Since Python 3.11 one call of that loop runs several calls of Python. py-spy marks the one by which a call of C has
entered the loop: ``is_entry`` in Python 3.11, ``is_shim_entry`` from 3.12 on.
"""

from __future__ import annotations

import os

from accel_config.record import Record
from accel_launch.inspecting.native import names
from accel_launch.inspecting.threads import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_launch.inspecting.native.elf import Image
    from accel_launch.inspecting.native.spaces import Space
    from accel_launch.inspecting.native.unwinding import Stack
    from accel_launch.inspecting.threads import Sampled

UNKNOWN = "?"
"""What stands for calls that can't be found, and for a file that isn't known."""
LOOPS = ("_PyEval_EvalFrameDefault", "__PyEval_EvalFrameDefault")
TAIL_CALLS = "_TAIL_CALL_"  # what the parts of that loop begin with where it is built of tail calls (Python 3.14)
KEPT = (
    "PyGILState_Ensure", "PyMutex_", "PyThread_", "gc_collect", "io_", "lock_", "os_", "pattern_", "posix_", "rlock_",
    "select_", "signal_", "sock_", "sre_", "take_gil", "thread_", "time_",
)  # fmt: skip
"""What those of the interpreter's own calls begin with that are shown: what they do or wait for is worth knowing."""
BELOW = (
    "__libc_start_main",
    "__libc_start_main_impl",
    "__libc_start_call_main",
    "__clone",
    "clone",
    "clone3",
    "start_thread",
)
"""What a thread begins with, in the C library."""


class Call(Record):
    """A call on the stack."""

    frame: Frame
    loop: bool = False
    """Whether it is the interpreter's loop."""
    hidden: bool = False
    """Whether it is another call of the interpreter, or what a thread begins with."""


def named(stacks: Sequence[Stack], space: Space, executable: str) -> list[list[Call]]:
    """Return the calls of a process's stacks with their names; the symbols of each file are read once for all."""
    wanted: dict[int, set[int]] = {}
    images: dict[int, Image] = {}
    places = {address: space.linked(address) for stack in stacks for address in stack.calls}
    for found in filter(None, places.values()):
        image, address = found
        images[id(image)] = image
        wanted.setdefault(id(image), set()).add(address)
    functions = {key: space.files.symbols(images[key]).functions(addresses) for key, addresses in wanted.items()}
    calls = {
        address: _call(address, space, functions[id(found[0])].get(found[1]) if found else None, executable)
        for address, found in places.items()
    }
    return [[calls[address] for address in stack.calls] for stack in stacks]


def _call(address: int, space: Space, symbol: bytes | None, executable: str) -> Call:
    mapping = space.mapping(address)
    if mapping is None:
        return Call(Frame(UNKNOWN, UNKNOWN, 0))
    file = os.path.basename(mapping.path)
    interpreter = mapping.path == executable or file.startswith("libpython")
    if symbol is None:
        found = space.linked(address)
        offset = found[1] if found is not None else address - mapping.start + mapping.offset
        return Call(Frame(f"{file}+{offset:#x}", mapping.path, 0), hidden=interpreter)
    function = names.readable(symbol)
    plain = function.partition(".")[0]  # compilers add ".cold", ".constprop.0" and others
    loop = interpreter and (plain in LOOPS or plain.startswith(TAIL_CALLS))
    below = plain in BELOW and file.startswith(("libc.", "libc-", "libpthread", "ld-musl"))
    hidden = below or (interpreter and not plain.lstrip("_").startswith(KEPT))
    return Call(Frame(function, mapping.path, 0), loop=loop, hidden=hidden)


def merge(calls: Sequence[Call], *, whole: bool, python: Sampled) -> tuple[Frame, ...] | None:
    """Return all calls of a thread, innermost first; None if the two kinds aren't of one moment.

    Args:
        calls: Those of C.
        whole: Whether the outermost of them is there. If it isn't, ``?`` stands for what is missing.
        python: Those of Python.
    """
    runs = _runs(python)
    loops = sum(call.loop for call in calls)
    spare = loops - len(runs)  # the innermost loop may have nothing to run yet, or no more
    if spare > 1 or (spare < 0 and whole):
        return None
    found: list[Frame] = []
    for call in calls:
        if call.loop and spare > 0:
            spare -= 1
        elif call.loop:
            found += runs.pop(0)
        elif not call.hidden:
            found.append(call.frame)
    if not whole:
        last = calls[-1].frame if calls else Frame(UNKNOWN, UNKNOWN, 0)
        if last.function != UNKNOWN or not found:
            found.append(Frame(UNKNOWN, last.file, 0))
        found += [frame for run in runs for frame in run]
    return tuple(found)


def _runs(python: Sampled) -> list[list[Frame]]:
    """Return the calls of Python that one call of the loop runs each, innermost first."""
    found: list[list[Frame]] = []
    begun = False
    for frame, entry in zip(python.thread.frames, python.entries, strict=True):
        if not begun:
            found.append([])
        found[-1].append(frame)
        begun = not entry
    return found
