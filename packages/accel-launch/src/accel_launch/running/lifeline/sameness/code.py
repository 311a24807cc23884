"""The content of the script and of the project's modules that it imports, as digests."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from itertools import islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from accel_launch.running.lifeline.sameness.subject import Subject

MISSING = "missing"
LETTERS = 12  # of a digest
MOST_FILES, MOST_BYTES, MOST_SECONDS = 400, 8 << 20, 0.1  # that are read
LARGEST = 1 << 20  # bytes of one file; of a larger one, its size counts and its beginning


class Code:
    """Digests files, as long as there is room and time."""

    def __init__(self) -> None:
        """Begin with none."""
        self.digests: dict[str, str] = {}
        self.names: dict[str, set[str]] = {}
        """The first words of the modules that each file imports."""
        self.left = MOST_BYTES
        self.until = time.monotonic() + MOST_SECONDS

    @property
    def full(self) -> bool:
        """Whether no more is read."""
        return len(self.digests) >= MOST_FILES or self.left <= 0 or time.monotonic() > self.until

    def add(self, path: str) -> str:
        """Digest a file, and return the digest."""
        if path in self.digests or (self.full and self.digests):
            return self.digests.get(path, "")
        try:
            with open(path, "rb") as file:
                text, size = file.read(LARGEST), os.fstat(file.fileno()).st_size
        except OSError:
            return ""
        self.left -= len(text)
        self.digests[path] = hashlib.sha256(b"%d\n%s" % (size, text)).hexdigest()[:LETTERS]
        self.names[path] = set(_imported(text)) if path.endswith(".py") else set()
        return self.digests[path]

    def follow(self, path: str, roots: Sequence[str]) -> None:
        """Digest the modules in ``roots`` that the file imports, those that these import, and so on."""
        waiting, seen = list(self.names.get(path, ())), set[str]()
        while waiting and not self.full:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            for one in self.module(name, roots):
                if self.add(one):
                    waiting += sorted(self.names[one])

    def module(self, name: str, roots: Sequence[str]) -> Iterable[str]:
        """Return the files of a module in the first folder that has it; data alone count only beside the script."""
        for root in roots:
            whole = os.path.join(root, name)
            if os.path.isdir(whole) and (root == roots[0] or _has_code(whole)):
                return self.package(whole)
            if os.path.isfile(f"{whole}.py"):
                return (f"{whole}.py",)
            if name in sys.stdlib_module_names:
                break
        return ()

    def package(self, folder: str) -> Iterator[str]:
        """Yield the modules of a package, in an order that doesn't depend on the machine."""
        for where, folders, files in os.walk(folder):
            if self.full:
                return
            folders[:] = sorted(one for one in folders if not one.startswith((".", "__pycache__")))
            for name in sorted(files):
                if name.endswith(".py"):
                    yield os.path.join(where, name)


def digests(subject: Subject) -> tuple[str, dict[str, str], bool]:
    """Return the digest of what is started, and those of the modules that belong to it, by their paths from there.

    And whether that is all: there may be too many, or the disk too slow.
    """
    code, name = Code(), subject.words[0] if subject.words else ""
    path, base = _place(subject, name)
    if not path:
        return ("" if subject.how == "module" else MISSING), {}, True
    digest = code.add(path)
    if subject.how != "program":
        top = os.path.dirname(path)
        while top.startswith(base + os.sep) and os.path.exists(os.path.join(top, "__init__.py")):
            if os.path.dirname(top) == base or not os.path.exists(os.path.join(os.path.dirname(top), "__init__.py")):
                for one in code.package(top):
                    code.add(one)
            top = os.path.dirname(top)
        code.follow(path, _roots(subject, base))
    full, own = code.full, code.digests.pop(path, "")
    modules = {os.path.relpath(one, base): text for one, text in code.digests.items()}
    return digest or own or MISSING, modules, not full


def _place(subject: Subject, name: str) -> tuple[str, str]:
    """Return the file that is started, and the folder from which its modules are imported; empty without a file."""
    if subject.how == "module":
        parts = os.path.join(*name.split(".")) if name else ""
        for folder in (subject.folder, *filter(None, sys.path)):
            for end in (".py", "/__main__.py", "/__init__.py"):
                if parts and os.path.isfile(os.path.join(folder, parts + end)):
                    return os.path.join(folder, parts + end), folder
        return "", ""
    path = os.path.join(subject.folder, name)
    if subject.how == "program" and "/" not in name:
        found = (os.path.join(one, name) for one in os.environ.get("PATH", os.defpath).split(os.pathsep))
        path = next(filter(os.path.isfile, found), path)
    if os.path.isdir(path):
        path = os.path.join(path, "__main__.py")
    return (path, os.path.dirname(path)) if os.path.isfile(path) else ("", "")


def _roots(subject: Subject, base: str) -> list[str]:
    """Return the folders in which the project's modules may be, the script's own first."""
    above: str = os.path.dirname(os.path.abspath(base))
    top: str = above
    while not os.path.lexists(os.path.join(top, ".git")) and top != "/":
        top = os.path.dirname(top)
    whole = os.path.lexists(os.path.join(base, ".git"))  # what is above is another project's
    tops = [] if whole else [one for one in (above, top) if one != "/"]
    named = [os.path.join(subject.folder, one) for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    sources = (os.path.join(one, "src") for one in (base, *tops))
    return list(dict.fromkeys((base, *named, subject.folder, *tops, *sources)))


def _has_code(folder: str) -> bool:
    """Return whether a folder is a package, and not one of data that has a module's name."""
    try:
        with os.scandir(folder) as found:
            return any(one.name.endswith(".py") for one in islice(found, MOST_FILES))
    except OSError:
        return False


def _imported(text: bytes) -> Iterator[str]:
    """Yield the first words of the modules that a file imports, from its lines."""
    for line in text.splitlines():
        kind, _, rest = line.strip().partition(b" ")
        if kind not in (b"import", b"from"):
            continue
        for word in rest.split(b",") if kind == b"import" else (rest,):
            first = word.strip().split(b" ")[0].split(b".")[0].decode(errors="replace")
            if first.isidentifier():
                yield first
