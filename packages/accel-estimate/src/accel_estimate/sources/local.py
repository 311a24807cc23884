"""A model on this machine: a folder, a single weight file, or a snapshot in the Hub's cache."""

from __future__ import annotations

import os

from accel_estimate.errors import ModelNotFoundError
from accel_estimate.sources.source import LocalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

_DEPTH = 2


class LocalFolder:
    """A folder of files."""

    library: str | None = None

    def __init__(self, path: str, name: str | None = None) -> None:
        """List the folder and its immediate sub-folders.

        Raises:
            ModelNotFoundError: the folder can't be listed.

        """
        self.path = path
        self.name = name or path
        try:
            self.files: Mapping[str, int] = dict(_listing(path, "", _DEPTH))
        except OSError as error:
            raise ModelNotFoundError(f"{path}: can't be read: {error.strerror}") from None

    def open(self, name: str) -> LocalFile:
        """Return one file, opened.

        Raises:
            ModelNotFoundError: the file can't be opened.

        """
        path = os.path.join(self.path, name)
        try:
            return LocalFile(path)
        except OSError as error:
            raise ModelNotFoundError(f"{path}: can't be read: {error.strerror}") from None

    def map(self, work: Callable[[str], Any], names: Sequence[str]) -> list[Any]:
        """Return the result of `work` for one name after the other."""
        return [work(name) for name in names]


class LocalFileOnly(LocalFolder):
    """A single weight file: its folder, with nothing else in it but its config.json."""

    def __init__(self, path: str) -> None:
        """Take the file, and its config.json if there is one."""
        self.path, own = os.path.split(path)
        self.name = path
        files = {name: os.path.join(self.path, name) for name in (own, "config.json")}
        self.files = {name: os.stat(file).st_size for name, file in files.items() if os.path.isfile(file)}


def _listing(folder: str, prefix: str, depth: int) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_file():
            found.append((prefix + entry.name, entry.stat().st_size))
        elif depth > 1 and entry.is_dir():
            found += _listing(entry.path, f"{prefix}{entry.name}/", depth - 1)
    return found


def find(name: str) -> LocalFolder | None:
    """Return the folder or file that `name` means; None if it can only be a repository on the Hub.

    Raises:
        ModelNotFoundError: `name` is written like a path, and no such file or folder exists.

    """
    path = os.path.expanduser(name)
    if os.path.isdir(path):
        return LocalFolder(path, name)
    if os.path.isfile(path):
        return LocalFileOnly(path)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith((".safetensors", ".gguf", ".json")):
        raise ModelNotFoundError(f"{name}: no such file or folder")
    return None


def hub_cache(environ: Mapping[str, str]) -> str:
    """Return the folder of the Hub's cache, as huggingface_hub finds it."""
    above = environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    home = environ.get("HF_HOME") or os.path.join(above, "huggingface")
    named = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    return os.path.expanduser(named or os.path.join(home, "hub"))


def cached(cache: str, name: str, revision: str) -> LocalFolder | None:
    """Return the snapshot of a repository in the Hub's cache, or None.

    As in huggingface_hub, `models--OWNER--NAME/refs/REVISION` holds the commit of `snapshots/COMMIT`.
    """
    folder = os.path.join(cache, f"models--{name.replace('/', '--')}")
    reference = os.path.join(folder, "refs", revision)
    commit = revision
    if os.path.isfile(reference):
        with open(reference, encoding="utf-8") as file:
            commit = file.read().strip()
    snapshot = os.path.join(folder, "snapshots", commit)
    return LocalFolder(snapshot, name) if commit and os.path.isdir(snapshot) else None
