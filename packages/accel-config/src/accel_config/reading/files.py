"""Config files: the value of each setting, with the line that sets it."""

from __future__ import annotations

from accel_config.errors import AccelError, SettingError, nearest
from accel_config.reading import document
from accel_config.record import Record
from accel_config.settings.origin import FILE, Origin, Value
from accel_config.settings.readers import TRUE
from accel_config.showing.printable import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from accel_config.reading.node import Node
    from accel_config.settings.declaration import Setting
    from accel_config.settings.index import Catalogue


MOST_SHOWN = 20
"""Problems of a file that a message lists, and unknown keys for which the nearest name is looked up."""


WAY_OUT = "; delete it, or choose one of those that `config schema` lists"


class Problem(Record):
    """A problem of a file, or a note on it, with its line."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        """``FILE:LINE: message``."""
        return one_line(f"{self.path}:{self.line}: {self.message}")


class Read(Record):
    """The content of a file."""

    values: dict[str, Value]
    problems: tuple[Problem, ...]
    """Mistakes: the launch stops."""
    notes: tuple[Problem, ...]
    """Keys without effect: the launch goes on."""
    keys: tuple[str, ...] = ()
    """The path of every known key in the file, in the file's order."""
    conflicts: tuple[Problem, ...] = ()
    """The notes on keys with two values: a launch takes the last one, a check refuses the file."""

    def refuse(self) -> None:
        """Refuse the file if it has problems; the message lists the first of them.

        Raises:
            SettingError: it has.
        """
        if self.problems:
            more = len(self.problems) - MOST_SHOWN
            rest = [f"and {more} more"] if more > 0 else []
            raise SettingError(*map(str, self.problems[:MOST_SHOWN]), *rest)


def load(catalogue: Catalogue, path: str) -> Read:
    """Read the config file at ``path``.

    Raises:
        SettingError: it can't be read, isn't text, or isn't a YAML or JSON mapping.
    """
    try:
        content = document.read(path)
    except FileNotFoundError as error:
        raise SettingError(f"{path}: the config file can't be read: {error.strerror}") from None
    return parse(catalogue, content, path)


def parse(catalogue: Catalogue, content: bytes, path: str) -> Read:
    """Read a config file's ``content``; ``path`` is for messages, and its ending distinguishes JSON from YAML."""
    reader = _Reader(catalogue, path)
    root = document.compose(content, path)
    if root is not None:
        reader.top(root)
    return Read(
        reader.values, tuple(reader.problems), tuple(reader.notes), tuple(reader.keys), tuple(reader.conflicts)
    )


class _Reader:
    """Walks one document and collects its values, problems and notes."""

    def __init__(self, catalogue: Catalogue, path: str) -> None:
        self.catalogue, self.path = catalogue, path
        self.by_key = catalogue.by_key
        self.mappings = catalogue.mappings
        self.values: dict[str, Value] = {}
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self.conflicts: list[Problem] = []
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
                self._problem(line, f"unknown key {key!r}{hint or WAY_OUT}")
        for key, line, node in legacy:  # last, since current keys win
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
            why = str(error).removeprefix(f"{self.path}:{line}: ")
            self._problem(line, key + why.removeprefix(one.name) if why.startswith(one.name) else why)
            return
        if one.deprecated and raw is not None:
            self._note(line, f"{key} has no effect: {one.deprecated}")
        elif value is None:
            return
        elif one.name in self.values:
            self._note(line, f"{key} is given twice: also in {self.values[one.name].origin}; this one counts")
            if value != self.values[one.name].value:
                self.conflicts.append(self.notes[-1])
        self.values[one.name] = Value(value, origin)

    def _legacy(self, legacy: Legacy, key: str, line: int, node: Node) -> None:
        """Set a setting from a legacy key, unless the file has its current key too."""
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
        """Yield each key with its line and value. Of a key that is there twice the last one counts, as for PyYAML."""
        last: dict[str, tuple[int, Node]] = {}
        for key, value in node.pairs():
            name = str(key.value)
            if name in last:
                self._twice(key, value, *last.pop(name))
            last[name] = key.line, value
        yield from ((key, *found) for key, found in last.items())

    def _twice(self, key: Node, value: Node, first: int, old: Node) -> None:
        if value.plain() == old.plain():
            self._note(key.line, f"{key.value} is given twice: first on line {first}, with the same value")
        else:
            self._note(key.line, f"{key.value} is given twice: first on line {first}; this one counts")
            self.conflicts.append(self.notes[-1])

    def _nearest(self, key: str, known: list[str]) -> str:
        self.hints += 1
        return nearest(key, known) if self.hints <= MOST_SHOWN else ""

    def _problem(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.path, line, message))

    def _note(self, line: int, message: str) -> None:
        self.notes.append(Problem(self.path, line, message))


class Legacy(Record):
    """A key of old files, and what becomes of it."""

    why: str
    """Why `update` removes it."""
    stands_for: Callable[[object], tuple[str, object] | None] | None = None
    """Returns the setting and the value that a value of this key means; None: the key has no effect."""


def _fp16(raw: object) -> tuple[str, object] | None:
    return ("mixed_precision", "fp16") if str(raw).lower() in TRUE else None


def _dynamo_backend(raw: object) -> tuple[str, object] | None:
    return None if raw is None else ("dynamo_backend", raw)


LEGACY: dict[str, Legacy] = {
    "fp16": Legacy("mixed_precision replaces it", _fp16),
    "dynamo_backend": Legacy("dynamo_config replaces it", _dynamo_backend),
    "ipex_config": Legacy("the Intel extension for PyTorch is no longer needed"),
    "tp_config": Legacy("tensor parallelism is set in parallelism_config"),
}
