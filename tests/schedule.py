"""Which tests run by default, which beside each other on several workers, and what is made once for all workers."""

from __future__ import annotations

import fcntl
import gc
import os
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# Most tests wait for processes that they started, so that the cores have time for some tests more.
WORKERS = min(8, (os.cpu_count() or 1) + 2)
# Tests with these marks run when no other test does: they measure time, or take the ports of a cluster.
ALONE = {"serial", "slurm"}
# Marks that few files have. A file names those of its tests, as pytest.mark.NAME.
IN_FEW = ("fuzz", "machines", "slurm", "stress", "xla")
# Files whose tests share what takes seconds to make, or can't run beside each other: one worker runs them, and begins
# with them.
TOGETHER = (
    (  # torch, imported once
        "tests/cli/test_merge.py",
        "tests/cli/test_merge_untrusted.py",
        "tests/estimate/test_libraries.py",
        "tests/estimate/test_saved_tensors.py",
        "tests/estimate/test_training.py",
    ),
    ("tests/estimate/test_script.py",),
    ("tests/sagemaker/test_submit.py", "tests/sagemaker/test_role.py", "tests/sagemaker/test_docs.py"),
    ("tests/sagemaker/test_entry.py",),  # the ranks of a job meet at one port, whichever job it is
    ("tests/config/test_interview.py", "tests/config/test_wizard.py"),
    ("tests/launch/test_library.py",),
    ("tests/launch/test_stall_machines.py",),  # each imports torch nine times at once
    ("tests/docs/test_api.py",),  # they read all packages
    ("tests/docs/test_troubleshooting.py",),
    ("tests/workspace/test_wheels.py",),
    ("tests/cli/test_entry.py",),
)


def sampled(cases: Iterable[Any], every: int) -> list[Any]:
    """Return parameters of which each so-many-eth runs by default, and the others with the marker `exhaustive`."""
    found = list(cases)
    for place, case in enumerate(found):
        if place % every:
            found[place] = pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.exhaustive)
    return found


def in_worker(config: pytest.Config) -> bool:
    """Return whether this process is one of several that run the tests."""
    return hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Spread the tests over workers where whole folders of them are run.

    Starting workers takes seconds, so that single files, `-k` and other marks run in this process; so does whatever
    wants to see or stop a test (`--pdb`, `-s`). `-n` decides otherwise.
    """
    option = config.option
    if in_worker(config) or not hasattr(option, "numprocesses"):
        return
    one_process = (
        option.usepdb or option.trace or option.capture == "no" or option.keyword or getattr(option, "lf", False)
    )
    folders = all(Path(word).is_dir() for word in config.args)
    usual = option.markexpr in config.getini("addopts")
    if option.numprocesses is None and folders and usual and not one_process:
        option.numprocesses = WORKERS


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return what `-n auto` stands for."""
    return WORKERS


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without a test of the one marker that is asked for: each worker would take seconds to read all."""
    file = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return (
        True
        if file and config.option.markexpr in IN_FEW and not names(collection_path, config.option.markexpr)
        else None
    )


@cache
def names(path: Path, mark: str) -> bool:
    """Return whether a file of tests names a mark."""
    return f"mark.{mark}" in path.read_text()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep Python's collector from the tests themselves, which are many objects and stay: it took a fifth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what the default run leaves out, and put the tests into the order in which workers take them."""
    for item in items:
        sample: set[str] | None = getattr(getattr(item, "module", None), "SAMPLE", None)
        if sample is not None and getattr(item, "originalname", "") not in sample:
            item.add_marker(pytest.mark.exhaustive)
        unnamed = [mark for mark in IN_FEW if item.get_closest_marker(mark) and not names(item.path, mark)]
        assert not unnamed, f"{item.nodeid} has the mark {unnamed[0]}, which its file has to name"
    if in_worker(config):
        items.sort(key=lambda item: (runs_alone(item), unit(item.nodeid) == item.nodeid, -allowed(item)))


def allowed(item: pytest.Item) -> float:
    """Return the seconds that a test has by its mark: the longest begin first, so that no core waits for a last one."""
    mark = item.get_closest_marker("timeout")
    return mark.args[0] if mark else 0


def unit(nodeid: str) -> str:
    """Return what a worker takes at a time: a test, or files whose tests stay together."""
    path = nodeid.partition("::")[0]
    return next((files[0] for files in TOGETHER if path in files), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give each worker a unit after the other, in our order; `--dist` decides otherwise."""
    if config.option.dist != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

        def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
            """Forget what is done: otherwise all that a worker has done is counted after each test."""
            super().mark_test_complete(node, item_index, duration)
            units, name = self.assigned_work[node], self._split_scope(self.registered_collections[node][item_index])
            if all(units[name].values()):
                del units[name]

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def runs_alone(item: pytest.Item) -> bool:
    """Return whether no other test may run at the same time."""
    return any(mark.name in ALONE for mark in item.iter_markers())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait until no other test runs, or none that runs alone."""
    if not in_worker(item.config):
        return (yield)
    with locked(Path(item.config.option.basetemp).parent / "running", shared=not runs_alone(item)):
        return (yield)


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Generator[None]:
    """Hold the lock of this name; if it is shared, along with others that share it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing doesn't do where a test has forked this process


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that is made once in a run of the tests, by the worker that needs it first."""
    base = factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / name  # each worker's base is in that of all
    with locked(folder.with_name(f"{name}.lock")):
        if not folder.exists():
            part = folder.with_name(f"{name}.part")
            part.mkdir()
            make(part)
            part.rename(folder)
    return folder
