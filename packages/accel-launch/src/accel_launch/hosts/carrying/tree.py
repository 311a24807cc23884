"""What is carried to the machines of ``--hosts``: the working tree by ``--sync``, and this launcher itself."""

from __future__ import annotations

import hashlib
import json
import os
import stat

from accel_config.catalogue import Launcher, Output, Rendezvous
from accel_config.checking import private
from accel_config.errors import AccelError
from accel_config.record import Record
from accel_config.showing.wording import describe, line
from accel_launch.hosts.carrying.receiving import CACHE, EXECUTABLE, LINK, LIST, PIECE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from accel_config.settings.resolved import Settings

    File = tuple[str, str, str, int]
    """A name below the root, a kind, the hash of the content (or what a link leads to), and a size."""

MEGABYTE = 1_000_000
NAMED = 3
RUBBISH = frozenset(
    (
        *(".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".ipynb_checkpoints", ".DS_Store"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".nox", ".eggs"),
    )
)
"""What is left out where git doesn't say it."""
OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
"""Variables that name another tree than that of the folder."""


class Tree(Record):
    """Files with their contents' hashes, and where they go."""

    name: str
    flag: str
    folder: str
    """The folder there."""
    fixed: bool
    """Whether the user has named it; else it is named by content."""
    files: tuple[File, ...]
    sources: tuple[str | bytes, ...]
    """The path of each file here, or its content."""
    root: str = ""
    cwd: str = ""
    """The folder of the run, below the root."""
    script: tuple[str, ...] = ()
    """The script and its arguments, as they are right there."""
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for *_, size in self.files)

    @property
    def summary(self) -> str:
        """How much it is, and where it goes."""
        return f"{measure([size for *_, size in self.files])} in {self.folder}"

    def data(self) -> dict[str, object]:
        """Return what the far side gets first; see `accel_launch.hosts.carrying.receiving`."""
        return {name: getattr(self, name) for name in ("name", "flag", "folder", "fixed", "files", "cwd")}

    def contents(self, wanted: Sequence[object]) -> Iterator[bytes]:
        """Yield the contents of files, each with the size that was announced; the far side checks them."""
        for number in wanted:
            if isinstance(number, int) and 0 <= number < len(self.files):
                yield from _exactly(self.sources[number], self.files[number][3])


def measure(sizes: Sequence[int]) -> str:
    """Return a number of files and their bytes, for people."""
    count, size = len(sizes), sum(sizes)
    amount = f"{size / MEGABYTE:.1f} MB" if size >= MEGABYTE / 10 else f"{size / 1000:.1f} kB"
    return f"{count} file{'s' * (count != 1)} ({amount})" if count else "nothing"


def code(settings: Settings, cwd: str, script: Sequence[str]) -> Tree:
    """Return the working tree of a script.

    Raises:
        AccelError: it can't be read, is larger than it may be, or doesn't have the script.
    """
    cwd = os.path.realpath(cwd)
    file = _script(settings, cwd, script)
    listed, tree = _listed(os.path.dirname(file) if file else cwd, cwd, file)
    if what := private.too_wide(tree):
        raise AccelError(f"--sync would carry {tree}, which is {what}; keep the script in a folder of its own")
    root = os.path.commonpath((tree, cwd))
    prefix = "" if root == tree else os.path.relpath(tree, root) + "/"
    written = os.path.realpath(os.path.join(cwd, os.path.expanduser(settings[Output].report or "/")))  # by the run
    listed = [name for name in listed if "__pycache__" not in name.split("/") and os.path.join(tree, name) != written]
    left_out = [name for name in listed if _private(tree, name)]
    names = sorted(set(listed).difference(left_out, (LIST.decode(),)))
    found = [(name, os.lstat(path)) for name in names if os.path.lexists(path := os.path.join(tree, name))]
    found = [(name, state) for name, state in found if stat.S_ISREG(state.st_mode) or stat.S_ISLNK(state.st_mode)]
    _refuse_large(settings, tree, [(state.st_size, name) for name, state in found])
    if file and file.startswith(os.path.join(tree, "")) and os.path.relpath(file, tree) not in dict(found):
        raise AccelError(f"--sync doesn't carry the script {file}: git ignores it, or it is like credentials")
    files = tuple(_file(os.path.join(tree, name), prefix + name, state) for name, state in found)
    sources = tuple(os.path.join(tree, name) for name, _ in found)
    links = [name for name, state in found if stat.S_ISLNK(state.st_mode)]
    folder, cwd_there = _folder(settings), os.path.relpath(cwd, root)
    words = (os.path.relpath(file, cwd), *script[1:]) if file and os.path.isabs(script[0]) else tuple(script)
    return Tree(
        *("code", "--sync", folder or f"{CACHE}/sync/{_digest(files)}", bool(folder), files, sources),
        *(tree, cwd_there, words, tuple(_notes(tree, links, sorted(left_out)))),
    )


def launcher() -> Tree:
    """Return this launcher: the packages that it consists of, and their versions."""
    import accel_config
    import accel_launch
    from accel_config.showing.installing import quick_version

    found = dict[str, str | bytes]()
    for package in (accel_config, accel_launch):
        above = os.path.dirname(package.__path__[0])
        for name in _walk(package.__path__[0]):
            path = os.path.join(package.__path__[0], name)
            found[os.path.relpath(path, above)] = path
        own = package.__name__
        version = quick_version(own.replace("_", "-"))
        metadata = f"Metadata-Version: 2.1\nName: {own.replace('_', '-')}\nVersion: {version}\n"
        found[f"{own}-{version}.dist-info/METADATA"] = metadata.encode()
    files = tuple(
        (name, "f", hashlib.sha256(source).hexdigest(), len(source))
        if isinstance(source, bytes)
        else _file(source, name, os.stat(source))
        for name, source in sorted(found.items())
    )
    sources = tuple(source for _, source in sorted(found.items()))
    return Tree("launcher", "--sync_launcher", f"{CACHE}/launcher/{_digest(files)}", False, files, sources)


def _script(settings: Settings, cwd: str, script: Sequence[str]) -> str:
    """Return the path of the script's file; nothing if it is a module, or isn't there."""
    if not script or settings[Launcher].module:
        return ""
    path = os.path.join(cwd, script[0])
    if settings[Launcher].no_python and not path.startswith(os.path.join(cwd, "")):
        return ""  # a program of the system
    return (
        os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)) if os.path.isfile(path) else ""
    )


def _folder(settings: Settings) -> str | None:
    named = settings[Rendezvous].sync_to
    if named is not None and not named.startswith(("/", "~/")):
        raise AccelError(f"{describe(settings, 'sync_to')}: write its whole path, or one that begins with ~/")
    return named


def _listed(folder: str, cwd: str, file: str) -> tuple[list[str], str]:
    """Return the names of a tree's files, and the tree: git's around the current folder or the script."""
    for start in (cwd, folder):
        top = _git_top(start)
        if top and (start == folder or file.startswith(os.path.join(top, ""))):
            return list(_of_git(top)), top
    return list(_walk(folder)), folder


def _git_top(folder: str) -> str:
    """Return the folder of the git repository around a folder; nothing without one."""
    above = folder
    while not os.path.lexists(os.path.join(above, ".git")):
        if above == os.path.dirname(above):
            return ""
        above = os.path.dirname(above)
    return os.fsdecode(_git(folder, "rev-parse", "--show-toplevel").removesuffix(b"\n"))


def _of_git(top: str) -> Iterator[str]:
    """Yield what git tracks, and what it neither tracks nor ignores; also of the repositories inside."""
    for raw in filter(None, _git(top, "ls-files", "-co", "--exclude-standard", "-z").split(b"\0")):
        name = raw.decode("utf-8", "surrogateescape").rstrip("/")
        path = os.path.join(top, name)
        if os.path.isdir(path) and not os.path.islink(path):
            inside = _of_git(path) if os.path.lexists(os.path.join(path, ".git")) else ()
            yield from (f"{name}/{other}" for other in inside)
        else:
            yield name


def _git(folder: str, *words: str) -> bytes:
    import subprocess  # noqa: TID251  git is asked for names, and is no rank

    environ = {name: value for name, value in os.environ.items() if name not in OF_A_HOOK}
    try:
        words = ("git", "-C", folder, *words)
        done = subprocess.run(words, capture_output=True, env=environ, check=False)  # noqa: S603  git's own words
    except OSError as error:
        raise AccelError(f"--sync asks git what {folder} has, and git can't be started: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise AccelError(f"--sync asks git what {folder} has, and git refuses: {said}")
    return done.stdout


def _walk(top: str) -> Iterator[str]:
    """Yield the files of a folder, without the usual rubbish."""
    for folder, folders, names in os.walk(top):
        inside = [name for name in folders if name not in RUBBISH]
        links = [name for name in inside if os.path.islink(os.path.join(folder, name))]
        folders[:] = [
            name
            for name in inside
            if name not in links and not os.path.isfile(os.path.join(folder, name, "pyvenv.cfg"))
        ]
        for name in (*names, *links):
            if name not in RUBBISH and not name.endswith((".pyc", ".pyo")):
                yield os.path.relpath(os.path.join(folder, name), top)


def _private(tree: str, name: str) -> bool:
    path, above = os.path.join(tree, name), os.path.dirname(name)
    named = private.named(name) or bool(above and private.named(f"{above}/"))
    return named or (not os.path.islink(path) and private.is_key(path))


def _refuse_large(settings: Settings, tree: str, sizes: list[tuple[int, str]]) -> None:
    limit = settings[Rendezvous].sync_limit
    whole = sum(size for size, _ in sizes)
    if whole > limit * MEGABYTE:
        largest = [one for one in sorted(sizes, reverse=True)[:NAMED] if one[0] > whole / 100]
        named = ", ".join(f"{line(name)} ({size / MEGABYTE:.1f} MB)" for size, name in largest)
        named = named and f"; its largest files are {named}"
        raise AccelError(
            f"{describe(settings, 'sync_limit')}: {tree} has {whole / MEGABYTE:.1f} MB{named}. Let "
            "git ignore what the machines don't need, or raise --sync_limit"
        )


def _file(path: str, name: str, state: os.stat_result) -> File:
    """Return a file as it is now."""
    if stat.S_ISLNK(state.st_mode):
        return name, LINK, os.readlink(path), 0
    kind, found = EXECUTABLE if state.st_mode & stat.S_IXUSR else "f", hashlib.sha256()
    for piece in _exactly(path, state.st_size):
        found.update(piece)
    return name, kind, found.hexdigest(), state.st_size


def _exactly(source: str | bytes, size: int) -> Iterator[bytes]:
    """Yield so many bytes of a file or a content; zeros if a file has become shorter meanwhile.

    Raises:
        AccelError: it can't be read.
    """
    if isinstance(source, bytes):
        yield source
        return
    try:
        with open(source, "rb") as file:
            while size:
                piece = file.read(min(size, PIECE)) or bytes(min(size, PIECE))
                size -= len(piece)
                yield piece
    except OSError as error:
        raise AccelError(f"{source} can't be read: {error.strerror}") from None


def _digest(files: tuple[File, ...]) -> str:
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]


def _notes(tree: str, links: list[str], left_out: list[str]) -> Iterator[str]:
    away = [name for name in links if _leads_away(tree, name)]
    for names, why in (
        (left_out, "not carried, because by name or content they are credentials, keys or histories"),
        (away, "carried as links that lead out of the tree"),
    ):
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            yield f"{why}: {', '.join(map(line, names[:NAMED]))}{more}"


def _leads_away(tree: str, name: str) -> bool:
    target = os.readlink(os.path.join(tree, name))
    path = os.path.normpath(os.path.join(tree, os.path.dirname(name), target))
    return os.path.isabs(target) or not path.startswith(os.path.join(tree, ""))
