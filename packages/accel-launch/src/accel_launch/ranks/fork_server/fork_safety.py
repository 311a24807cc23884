"""Checks that a process can be forked after an import, and random numbers that ranks must not share."""

from __future__ import annotations

import gc
import os
import random
import sys
import time

import itself

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

# Thread pools that end by themselves before a fork and start again after it, by a part of their library's file name.
# OpenBLAS: its handler of pthread_atfork shuts the pool down, and the next call that needs threads starts another
# (driver/others/blas_server.c, `blas_thread_shutdown`, registered by driver/others/memory.c).
POOLS = ("openblas",)
# Devices that hold no state, so processes can share them.
HARMLESS = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "shm", "tty", "pts"))
# As submodules of torch, those of its vendors included.
ACCELERATORS = ("cuda", "xpu", "npu", "mlu", "musa", "hpu", "sdaa")
BLOCKS = 64  # of 624 numbers: how many an import may draw from Python's generator and be recognized
WORDS = 624
LEAVING = 0.05  # seconds until a joined thread is gone


class Look:
    """The state of the process, for comparison with its state before an import."""

    def __init__(self, seeds: Seeds) -> None:
        """Read the state."""
        self.seeds = seeds
        self.descriptors = itself.descriptors()
        self.shared = itself.shared_memory()
        self.random = random.getstate()
        self.generators = {id(one): type(one).__name__ for one in generators() if one not in seeds.drawn}
        self.first = sys.path[:1]

    def obstacle(self, before: Look) -> str:
        """Return what the import did that forbids a fork, as a predicate; an empty text if nothing does."""
        found = (
            self._descriptors(before)
            or self._memory(before)
            or self._path(before)
            or self._python_random(before)
            or self._generators(before)
        )
        # Threads come last: the other checks may start one.
        checks = (self.seeds.torch_replaced, _numpy_random, _accelerator, _children, _threads)
        return found or next((obstacle for check in checks if (obstacle := check())), "")

    def _descriptors(self, before: Look) -> str:
        for fd, what in self.descriptors.items():
            if before.descriptors.get(fd) != what and not what.startswith(HARMLESS):
                device = ", an accelerator's runtime perhaps" if what.startswith("/dev/") else ""
                return f"keeps {what} open{device}"
        return ""

    def _memory(self, before: Look) -> str:
        new = self.shared - before.shared
        return f"shares memory between processes ({min(new)})" if new else ""

    def _path(self, before: Look) -> str:
        return "" if self.first == before.first else "puts something before the script's folder on sys.path"

    def _python_random(self, before: Look) -> str:
        """Report a seed that the import has set: Python draws a new one after a fork, and this one would be lost."""
        copy = random.Random()  # noqa: S311
        copy.setstate(before.random)
        for _block in range(BLOCKS):
            if copy.getstate()[1][:-1] == self.random[1][:-1]:
                return ""
            copy.getrandbits(32 * WORDS)
        return "seeds Python's random numbers"

    def _generators(self, before: Look) -> str:
        new = [kind for place, kind in self.generators.items() if place not in before.generators]
        return f"makes a random generator ({new[0]}) that all ranks would share" if new else ""


def _accelerator() -> str:
    torch: Any = sys.modules.get("torch")
    for name in ACCELERATORS:
        device = getattr(torch, name, None)
        if device is not None and getattr(device, "is_initialized", bool)():
            return f"opens torch.{name}"
    for path in itself.mapped():
        if path.startswith("/dev/") and not path.startswith(HARMLESS):
            return f"maps {path}, an accelerator's runtime perhaps"
    return ""


def _children() -> str:
    return "starts a process and leaves it running" if itself.has_children() else ""


def threads() -> int:
    """Return how many threads this process has, native ones included; wait for joined ones that are still leaving."""
    until = time.monotonic() + LEAVING
    while (count := itself.threads()) > 1 and time.monotonic() < until:
        time.sleep(0.001)
    return count


def _threads() -> str:
    if threads() == 1:
        return ""
    names = {os.path.basename(path) for path in itself.mapped()}
    if not names or any(pool in name for pool in POOLS for name in names):
        _fork_once()
    more = threads() - 1
    return f"starts {'a thread' if more == 1 else f'{more} threads'}{_names()}" if more else ""


def _fork_once() -> None:
    """Fork once for nothing: it ends the pools that end before a fork, and no other thread."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _names() -> str:
    """Return the names of the threads that Python knows."""
    threading: Any = sys.modules.get("threading")
    running: list[Any] = threading.enumerate() if threading else []
    named = [thread.name for thread in running if thread is not threading.main_thread()]
    return f" ({', '.join(named)})" if named else ""


# Random numbers.


def generators() -> list[Any]:
    """Return all random generators but the global ones of the modules `random` and `numpy.random`."""
    numpy: Any = sys.modules.get("numpy.random")
    kinds = set(_kinds(random.Random)) - set(_kinds(random.SystemRandom))
    spared = [id(random._inst)]  # pyright: ignore[reportAttributeAccessIssue]
    if numpy is not None:
        kinds |= set(_kinds(numpy.BitGenerator))
        spared.append(id(numpy.mtrand._rand._bit_generator))
    return [one for one in gc.get_objects() if type(one) in kinds and id(one) not in spared]


def _kinds(kind: type) -> list[type]:
    return [kind, *(below for child in kind.__subclasses__() for below in _kinds(child))]


class Seeds:
    """The seeds that were drawn while modules were imported. A rank draws them again; a seed that was set stays."""

    def __init__(self) -> None:
        """Watch from now on, as the first finder of modules and in place of a method of Python's generators."""
        from weakref import WeakSet

        self.drawn: WeakSet[random.Random] = WeakSet()
        drawn = self.drawn
        self.torch: int | None = None
        self.seed = seed = random.Random.seed

        def watched(self: random.Random, a: Any = None, version: int = 2) -> None:
            (drawn.discard if a is not None else drawn.add)(self)
            seed(self, a, version)

        random.Random.seed = watched
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find torch as the other finders do, and read its seed as soon as it is imported."""
        if name != "torch":
            return None
        others: list[Any] = [finder for finder in sys.meta_path if finder is not self]
        spec = next((found for finder in others if (found := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def watched(module: Any) -> None:
                del spec.loader.exec_module  # the class's own is there again
                load(module)
                self.torch = module.initial_seed()

            spec.loader.exec_module = watched
        return spec

    def torch_replaced(self) -> str:
        """Return an obstacle if torch's seed isn't the one that it drew."""
        torch: Any = sys.modules.get("torch")
        return "seeds torch's random numbers" if torch is not None and torch.initial_seed() != self.torch else ""

    def close(self) -> None:
        """Stop watching."""
        random.Random.seed = self.seed
        sys.meta_path.remove(self)

    def renew(self) -> None:
        """Draw them again; Python has done so for its own generator at the fork."""
        for generator in self.drawn:
            generator.seed()
        numpy: Any = sys.modules.get("numpy.random")
        if numpy is not None:
            numpy.mtrand._rand._bit_generator.__init__()
        torch: Any = sys.modules.get("torch")
        if torch is not None:
            torch.default_generator.seed()
        processes: Any = sys.modules.get("multiprocessing.process")
        if processes is not None:
            processes.current_process().authkey = os.urandom(32)


def _numpy_random() -> str:
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is None:
        return ""
    # A seed that is set replaces the sequence that was drawn.
    return "" if numpy.mtrand._rand._bit_generator.seed_seq is not None else "seeds NumPy's random numbers"


# Variables that an import reads, and output that it leaves in buffers.


class Reads:
    """The reads of some variables from `os.environ` inside the context."""

    def __init__(self, names: list[str]) -> None:
        """Take the names of the variables."""
        self.names = names
        self.found: list[str] = []

    def __enter__(self) -> Self:
        """Watch `os.environ`."""
        environ: Any = os.environ
        self.encode = environ.encodekey

        def watched(name: Any) -> Any:
            if name in self.names and name not in self.found:
                self.found.append(name)
            return self.encode(name)

        environ.encodekey = watched
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop watching."""
        environ: Any = os.environ
        environ.encodekey = self.encode


def flush() -> None:
    """Write what C libraries hold in their buffers, so that no rank writes it again."""
    import ctypes

    ctypes.CDLL(None).fflush(None)
