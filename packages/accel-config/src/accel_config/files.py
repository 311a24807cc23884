"""Config files: where they are, and what they say of each setting, on which line."""

from __future__ import annotations

from .document import LARGEST, Node, compose
from .errors import AccelError, SettingError, nearest
from .origin import FILE, Origin, Value
from .record import Record
from .section import TRUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .section import Setting
    from .settings import Catalogue


MOST_SHOWN = 20  # of a file's problems; likewise the number of unknown keys that a nearest name is looked for


class Problem(Record):
    """What is wrong with a file, and on which line."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        """``FILE:LINE: message``."""
        return f"{self.path}:{self.line}: {self.message}"


class Read(Record):
    """What a file says."""

    values: dict[str, Value]
    problems: tuple[Problem, ...]
    """What can't be: the launch stops."""
    notes: tuple[Problem, ...]
    """What has no effect: the launch goes on."""
    keys: tuple[str, ...] = ()
    """The path of every key that the file holds and that is known, in the file's order."""

    def refuse(self) -> None:
        """Raise SettingError with what can't be, if anything: the first of them where there are many."""
        if self.problems:
            more = len(self.problems) - MOST_SHOWN
            rest = [f"and {more} more"] if more > 0 else []
            raise SettingError("\n".join([*map(str, self.problems[:MOST_SHOWN]), *rest]))


def load(catalogue: Catalogue, path: str) -> Read:
    """Read the config file at ``path``.

    Raises:
        SettingError: it isn't there, isn't text, or isn't a YAML or JSON mapping.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise SettingError(f"{path}: the config file can't be read: {error.strerror}") from None
    return parse(catalogue, content, path)


def parse(catalogue: Catalogue, content: bytes, path: str) -> Read:
    """Read a config file's ``content``; ``path`` is only for messages, and its ending tells JSON from YAML."""
    reader = _Reader(catalogue, path)
    root = compose(content, path)
    if root is not None:
        reader.top(root)
    return Read(reader.values, tuple(reader.problems), tuple(reader.notes), tuple(reader.keys))


class _Reader:
    """Walks one document and collects what it says."""

    def __init__(self, catalogue: Catalogue, path: str) -> None:
        self.catalogue, self.path = catalogue, path
        self.by_key = catalogue.by_key
        self.mappings = catalogue.mappings
        self.values: dict[str, Value] = {}
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self.keys: list[str] = []
        self.hints = 0

    def top(self, root: Node) -> None:
        """Read the top level."""
        legacy: list[tuple[str, int, Node]] = []
        for key, line, node in self._pairs(root):
            if key in LEGACY:
                legacy.append((key, line, node))
            elif key in self.mappings:
                self._nested(key, line, node)
            elif key in self.by_key:
                self._take(self.by_key[key], key, line, node)
            else:
                hint = self._nearest(key, [*(k for k in self.by_key if "." not in k), *self.mappings])
                self._problem(line, f"unknown key {key!r}{hint}")
        for key, line, node in legacy:  # last, since today's words win
            self._legacy(LEGACY[key], key, line, node)

    def _nested(self, mapping: str, line: int, node: Node) -> None:
        if node.value is None:
            return
        if not node.mapping:
            self._problem(line, f"{mapping} must be a mapping of settings")
            return
        for key, line_of_key, value in self._pairs(node):
            path = f"{mapping}.{key}"
            if path in self.by_key:
                self._take(self.by_key[path], path, line_of_key, value)
            else:
                own = [k.partition(".")[2] for k in self.by_key if k.startswith(mapping + ".")]
                self._note(line_of_key, f"unknown key {path!r} has no effect{self._nearest(key, own)}")

    def _take(self, one: Setting, key: str, line: int, node: Node) -> None:
        self.keys.append(key)
        origin = Origin(f"{self.path}:{line}", FILE)
        try:
            raw = node.read(one.kind)
            value = None if raw is None else one.parse(raw, origin)
        except AccelError as error:
            said = str(error).removeprefix(f"{self.path}:{line}: ")
            self._problem(line, key + said.removeprefix(one.name) if said.startswith(one.name) else said)
            return
        if one.deprecated and raw is not None:
            self._note(line, f"{key} has no effect: {one.deprecated}")
        elif value is None:
            return
        elif one.name in self.values:
            self._problem(line, f"{key} is given twice: also as {self.values[one.name].origin}")
        self.values[one.name] = Value(value, origin)

    def _legacy(self, legacy: Legacy, key: str, line: int, node: Node) -> None:
        """Set a setting from a legacy key, unless the file says it in today's words."""
        if legacy.stands_for is None:
            self._note(line, f"{key} has no effect: {legacy.why}")
            return
        meant = legacy.stands_for(node.plain())
        if meant is None:
            return
        name, raw = meant
        origin = Origin(f"{self.path}:{line}", FILE)
        try:
            value = self.catalogue.by_name[name].parse(raw, origin)
        except AccelError as error:
            self._problem(line, str(error).removeprefix(f"{origin}: "))
            return
        self.values.setdefault(name, Value(value, origin))

    def _pairs(self, node: Node) -> Iterator[tuple[str, int, Node]]:
        seen: dict[str, int] = {}
        for key, value in node.pairs():
            if not isinstance(key.value, str):
                self._problem(key.line, "a key must be text")
            elif key.value in seen:
                self._problem(key.line, f"{key.value} is given twice: first on line {seen[key.value]}")
            else:
                seen[key.value] = key.line
                yield key.value, key.line, value

    def _nearest(self, key: str, known: list[str]) -> str:
        self.hints += 1
        return nearest(key, known) if self.hints <= MOST_SHOWN else ""

    def _problem(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.path, line, message))

    def _note(self, line: int, message: str) -> None:
        self.notes.append(Problem(self.path, line, message))


class Legacy(Record):
    """What becomes of a key of old files."""

    why: str
    """Why `update` takes it out."""
    stands_for: Callable[[object], tuple[str, object] | None] | None = None
    """The setting that a value of it means, with the value there; None: it has no effect."""


def _fp16(raw: object) -> tuple[str, object] | None:
    return ("mixed_precision", "fp16") if str(raw).lower() in TRUE else None


def _dynamo_backend(raw: object) -> tuple[str, object] | None:
    return None if raw is None else ("dynamo_backend", raw)


LEGACY: dict[str, Legacy] = {
    "fp16": Legacy("mixed_precision says it", _fp16),
    "dynamo_backend": Legacy("dynamo_config says it", _dynamo_backend),
    "ipex_config": Legacy("the Intel extension for PyTorch is no longer needed"),
    "tp_config": Legacy("tensor parallelism is set in parallelism_config"),
}
