"""Where a thread is, in the terms of whoever wrote the script: their own line, and what they called from it."""

from __future__ import annotations

import os
import sys

from accel_config.record import Record
from accel_launch.inspecting import source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from accel_launch.inspecting.threads import Frame

PACKAGES = ("/site-packages/", "/dist-packages/")
COLLECTIVES = "torch/distributed/"
REMOTE, REMOTELY = COLLECTIVES + "rpc/", "torch rpc."  # waits for a function that another rank runs in a thread
# Folders of torch.distributed that run a user's code, and write files: what counts is what they call.
WRAPPERS = (
    "fsdp/", "checkpoint/", "elastic/", "launcher/", "algorithms/", "optim/", "pipelining/", "_composable/",
    "_tools/", "tensor/",
)  # fmt: skip
DESTROYING = "torch destroy_process_group"  # an operation by which a rank leaves the others
PICKLING = ("_object_to_tensor", "_tensor_to_object")  # what a collective of objects computes before and after it
FUTURES = "torch/futures/"
# Functions of torch that wait for the device, and through it for a collective: (end of the file's path, function).
SYNCHRONIZING = ("synchronize", "wait_stream", "wait_event", "wait")
# What waits without a frame of its own, because it is written in C++: recognised by the line that calls it.
WAITING_CALLS, FOR_CHILDREN = (".wait(",), ("os.wait(",)
STORE = ("store.get(", "store.wait(")  # of torch, or anything else of that name
IN_STORE = "torch store"
INDUCTOR = "/torchinductor_"  # the folder of code that torch.compile has made
FUNCTIONAL = ("wait_tensor(",)  # the same below frames of torch that are those of any operator
# What waits for the device, where there is one, and computes on the CPU alone.
DEVICE_CALLS = (".item(", ".synchronize(", ".cpu(", ".tolist(")
SPINNING_CALL = ".is_completed("  # in the condition of a loop, or in the first line of one without
BACKWARD = ".backward("  # computes, and then waits for the gradients of the other ranks
# Frames that only pass a call on.
PASSING = (
    "wrapper",
    "inner",
    "decorate_context",
    "_call_impl",
    "_wrapped_call_impl",
    "__call__",
    "decorate_autocast",
)
# Files of the standard library and of packages whose calls wait for processes that they have started.
FOR_PROCESSES = ("torch/utils/data/", "/multiprocess", "/concurrent/futures/", "/subprocess.py", "/joblib/")
BOOTSTRAP = ("process.py", "_bootstrap")  # what multiprocessing calls in a process that it has started
PROMPTS = (("pdb.py", "interaction"), ("pdb.py", "_cmdloop"), ("bdb.py", "trace_dispatch"), ("cmd.py", "cmdloop"))
DEBUGGERS = (
    "/debugpy/_vendored/",
    "/debugpy/server/",
    "/pydevd.py",
    "/_pydevd_bundle/",
    "/IPython/terminal/interactiveshell.py",
    "/IPython/terminal/debugger.py",
    "/prompt_toolkit/application/",
)


class Place(Record):
    """Where a thread is."""

    file: str = ""
    """The file of the user's own innermost frame; empty if no stack could be read."""
    line: int = 0
    function: str = ""
    operations: tuple[str, ...] = ()
    """What was called from there, outermost first, such as ``torch all_reduce``; at most two."""
    collective: bool = False
    """Whether it waits for other ranks: in `torch.distributed`, or for the device or the gradients of all."""
    certain: bool = True
    """Whether that was seen in its frames; else the line alone tells it, and any use of CPU speaks against it."""
    device: bool = False
    """Whether its line may wait for an accelerator, if the process has one: see `waiting_for`."""
    for_processes: bool = False
    """Whether it waits for what it has started other processes for, such as the workers of a data loader."""
    prompt: bool = False
    """Whether a debugger has stopped there, or waits for commands."""
    loop: int = 0
    """The line of the loop that the user's own frame goes round in without calling anything; 0 if there is none."""

    def waits(self, state: str) -> bool:
        """Return whether a thread in this state (a letter of the kernel's) waits here for other ranks.

        What only may wait, such as ``backward()``, doesn't while it runs.
        """
        return self.collective and (self.certain or state != "R")

    @property
    def text(self) -> str:
        """The place in one line, such as ``train.py:88 train_step > torch all_reduce``."""
        own = f"{os.path.basename(self.file)}:{self.line} {self.function}" if self.file else ""
        return " > ".join(filter(None, (own, *self.operations)))


def locate(frames: Sequence[Frame]) -> Place:
    """Return the place of a thread's frames, innermost first."""
    if not frames:
        return Place()
    own = _own(frames)
    called = frames[:own] if own is not None else frames
    collective = _collective(called)
    user = frames[own] if own is not None else None
    spins = _spins(user) if user is not None and own == 0 else 0
    if user is not None and own == 0 and not spins and (caller := _caller(user, frames)) is not None:
        user, spins = caller, source.loop(caller.file, caller.line)
    asking = user if own == 0 else None  # its line calls C, which has no frames
    store = _calls(asking, STORE)
    by_line = bool(spins) or (_calls(asking, WAITING_CALLS) and not store and not _calls(asking, FOR_CHILDREN))
    perhaps = store or _calls(asking, (BACKWARD,)) or _calls(user, FUNCTIONAL)
    perhaps = perhaps or any(frame.function == "_engine_run_backward" for frame in called)
    return Place(
        file=user.file if user else "",
        line=spins or (user.line if user else 0),
        function=user.function if user else "",
        operations=_operations(called, collective) or (IN_STORE,) * store,
        collective=collective is not None or by_line or perhaps,
        certain=collective is not None or by_line,
        device=collective is None and _calls(asking, DEVICE_CALLS),
        for_processes=collective is None and any(part in frame.file for frame in called for part in FOR_PROCESSES),
        prompt=any(_prompt(frame) for frame in frames),
        loop=spins or (source.loop(user.file, user.line) if user is not None and own == 0 else 0),
    )


def _calls(frame: Frame | None, calls: tuple[str, ...]) -> bool:
    return frame is not None and source.line_has(frame.file, frame.line, calls)


def waiting_for(place: Place, *, device: bool, other: Place | None = None) -> Place:
    """Return a place with what its process alone tells.

    Args:
        place: Of its main thread.
        device: Whether the process has an accelerator: then it may be that which uses the CPU while it waits.
        other: Where a thread is for which the main thread waits.
    """
    if place.device and device:
        return place.replace(collective=True, certain=True)
    if other is not None and not place.collective:
        operations = dict.fromkeys((*place.operations[:1], *other.operations[-1:]))
        return place.replace(collective=True, certain=other.certain, operations=tuple(operations))
    return place


def called_by_line(place: Place) -> bool:
    """Return whether only a line's text tells that it waits for a collective: it may be a camera's ``wait()``."""
    return place.collective and place.certain and not place.operations and not place.loop


def remotely(operations: Sequence[str]) -> bool:
    """Return whether these are calls of torch's RPC: another rank runs the function, in a thread of its own."""
    return any(operation.startswith(REMOTELY) for operation in operations)


def for_thread(frames: Sequence[Frame]) -> bool:
    """Return whether a thread waits for another one: for a lock, an event, a result, its end."""
    return bool(frames) and frames[0].file.endswith(("/threading.py", "/concurrent/futures/_base.py", "/queue.py"))


def inside_of_worker(frames: Sequence[Frame]) -> Sequence[Frame]:
    """Return the frames of what a process was started for; none if it waits for work.

    A fork has those on its stack that led to the fork as well, and each worker those of the loop that calls its work.
    """
    file, function = BOOTSTRAP
    for index, frame in enumerate(frames):
        if frame.file.endswith(f"/{file}") and frame.function.endswith(function):
            frames = frames[:index]
            break
    while frames and _machinery(frames[-1]):
        frames = frames[:-1]
    return frames


def _machinery(frame: Frame) -> bool:
    started = any(part in frame.file for part in FOR_PROCESSES)
    return started or frame.file.startswith(("<frozen", "<string>")) or _standard(frame.file)


def library(frame: Frame) -> bool:
    """Return whether a frame is a library's, not the user's."""
    return frame.file.startswith("<frozen") or any(part in frame.file for part in PACKAGES) or _standard(frame.file)


def _generated(frame: Frame) -> bool:
    return frame.file.startswith("<") or INDUCTOR in frame.file


def _standard(path: str) -> bool:
    """Return whether a file is the standard library's, not one that somebody has put into its folder."""
    above, _, rest = path.rpartition("/python3")
    version, _, inside = rest.partition("/")
    folder = above.endswith(("/lib", "/lib64")) and version.lstrip(".").rstrip("t").isdecimal()  # 3.13t has no GIL
    return folder and _stem(inside.partition("/")[0]) in sys.stdlib_module_names


def package(frame: Frame) -> str:
    """Return the top-level package of a library's frame, such as ``torch``; for the standard library its module."""
    for part in PACKAGES:
        if part in frame.file:
            return _stem(frame.file.rpartition(part)[2].partition("/")[0])
    _, _, rest = frame.file.rpartition("/python3")
    return _stem(rest.partition("/")[2].partition("/")[0])


def _stem(name: str) -> str:
    return name.removesuffix(".py")


def _own(frames: Sequence[Frame]) -> int | None:
    """Return the index of the user's innermost frame; of code that was generated only if there is no other.

    A script that is itself installed, as for ``-m``, is found by its package: that of the outermost frame which isn't
    the standard library's.
    """
    own = [index for index, frame in enumerate(frames) if not library(frame)]
    if own:
        return next((index for index in own if not _generated(frames[index])), own[0])
    installed = [package(frame) for frame in frames if any(part in frame.file for part in PACKAGES)]
    for index, frame in enumerate(frames):
        if installed and package(frame) == installed[-1]:
            return index
    return None


def _collective(called: Sequence[Frame]) -> Frame | None:
    """Return the frame of the collective that the user's call has led to: the outermost one, by its public name."""
    found = None
    if any(frame.function in PICKLING and COLLECTIVES in frame.file for frame in called):
        return None
    for frame in called:
        inside = frame.file.rpartition(COLLECTIVES)
        waits = (inside[1] and not inside[2].startswith(WRAPPERS)) or FUTURES in frame.file
        device = "torch/cuda/" in frame.file and frame.function in SYNCHRONIZING
        if (waits or device) and not _passing(frame) and not (found and frame.function.startswith("_")):
            found = frame
    return found


def _operations(called: Sequence[Frame], collective: Frame | None) -> tuple[str, ...]:
    shown = [frame for frame in reversed(called) if not _passing(frame)]
    if not shown:
        return ()
    first = shown[0]
    last = collective if collective is not None else shown[-1]
    if collective is not None and package(first) == "torch":
        first = collective
    return tuple(dict.fromkeys(_named(frame) for frame in (first, last)))


def _named(frame: Frame) -> str:
    if frame.file.startswith("<frozen importlib"):
        return "import"
    function = frame.function.rpartition(".<locals>.")[2]
    if REMOTE in frame.file:
        return f"{REMOTELY}{function}"
    return f"{package(frame)} {function}".strip()


def _passing(frame: Frame) -> bool:
    name = frame.function.rpartition(".")[2]
    return name in PASSING or name.startswith("<")


def _prompt(frame: Frame) -> bool:
    at = any(frame.file.endswith(f"/{file}") and frame.function.endswith(name) for file, name in PROMPTS)
    return at or any(part in frame.file for part in DEBUGGERS)


def _caller(asking: Frame, frames: Sequence[Frame]) -> Frame | None:
    """Return the frame whose loop calls the function that asks whether a collective is done; None if none does."""
    if not source.line_has(asking.file, asking.line, (SPINNING_CALL,)):
        return None
    function = asking.function
    for outer in frames[1:]:
        name = function.rpartition(".")[2]
        if library(outer) or f"{name}(" in source.condition(outer.file, outer.line):
            return None if library(outer) else outer
        if not name.startswith("<"):  # a generator within the function that asks is looked through
            return None
        function = outer.function
    return None


def _spins(frame: Frame) -> int:
    """Return the line of the loop around a frame's line that asks whether a collective is done; 0 if none does."""
    return source.loop(frame.file, frame.line) if SPINNING_CALL in source.condition(frame.file, frame.line) else 0
