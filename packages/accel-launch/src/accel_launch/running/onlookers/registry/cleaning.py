"""Removes old records."""

from __future__ import annotations

import os
import stat
import time

from accel_launch.running.onlookers.registry import folder as folders
from accel_launch.running.onlookers.registry.folder import Folder

YOUNG = 60.0  # seconds in which a launcher has locked its folder after it has made it


def clean(runs: str, age: float, count: int, own: str = "") -> None:
    """Remove old records, old files with stacks, and what killed launchers have left without any record.

    Not this process's ``own`` one: looking frees its lock. Others may do the same, or make a folder of the same name
    meanwhile.
    """
    _clean_stacks(os.path.join(os.path.dirname(runs), "stacks"), age)
    found: list[tuple[float, str]] = []
    try:
        for entry in os.scandir(runs):
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode) and folders.private(facts):
                found.append((facts.st_mtime, entry.path))
    except OSError:
        return
    found.sort(reverse=True)
    now = time.time()
    for place, (changed, path) in enumerate(found):
        if os.path.basename(path) == own:
            continue
        if place >= count or changed < now - age:
            Folder(path).remove(when=_over)
        elif not os.path.lexists(os.path.join(path, folders.STATE)):
            Folder(path).remove(when=_left)


def _clean_stacks(folder: str, age: float) -> None:
    """Remove old files with the stacks of a standstill, as `keeping` writes them."""
    from accel_launch.running.onlookers.stall.keeping import check

    try:
        check(folder)
        for entry in os.scandir(folder):
            if entry.name.startswith("stacks_") and entry.stat(follow_symlinks=False).st_mtime < time.time() - age:
                os.unlink(entry.path)
    except OSError:
        pass


def _over(folder: int) -> bool:
    """Return whether a folder is of a run that has ended, here or elsewhere."""
    held, _pid, machine = folders.lock(folders.LOCK, folder)
    return not held and ({*machine} & {*folders.machine_names()} != set() or _exists(folders.REPORT, folder))


def _left(folder: int) -> bool:
    """Return whether a launcher of this machine that was killed has left a folder without a record."""
    held, _pid, machine = folders.lock(folders.LOCK, folder)
    if held or _exists(folders.STATE, folder):
        return False
    if machine:  # the name stays when the machine starts again; containers have several
        return bool({*machine} & {*folders.machine_names()})
    # One that was killed before it could lock it.
    return _old(os.fstat(folder).st_mtime) and not {*os.listdir(folder)} - {folders.PART}


def _old(changed: float) -> bool:
    return abs(time.time() - changed) > YOUNG  # a clock may have been set


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True
