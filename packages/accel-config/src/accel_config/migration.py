"""Old config files brought up to date: keys and values in today's words, the rest of the text as it was."""

from __future__ import annotations

from . import spelling, storage
from .catalogue import CATALOGUE
from .checking import JOB, in_scope
from .document import Node, compose
from .edit import assign, content_of
from .errors import AccelError
from .files import LEGACY, parse
from .interview import unasked
from .machine import Machine
from .origin import DEFAULT, FILE, Origin, Value
from .settings import resolve
from .splices import Splices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .section import Setting
    from .settings import Settings

ADDED = Origin("added", FILE)
MOST_LOOKS = 50  # each look at a text finds what the one before had to leave


def update(path: str) -> list[str]:
    """Bring the file at ``path`` up to date; return what was changed, nothing where it was.

    Raises:
        AccelError: the file can't be read or written, or holds what can't be.
    """
    with storage.locked(path):
        content = content_of(path)
        new, changes = migrated(content, path, Machine.here())
        if new != content:
            storage.replace(path, new)
    return changes


def migrated(content: bytes, path: str, machine: Machine) -> tuple[bytes, list[str]]:
    """Return the file's content brought up to date, and what was changed in it.

    Raises:
        AccelError: it can't be read, or holds what can't be.
    """
    read = parse(CATALOGUE, content, path)
    read.refuse()
    before = {name: value for name, value in read.values.items() if not CATALOGUE.by_name[name].deprecated}
    new = content
    said: list[str] = []
    for _look in range(MOST_LOOKS):
        changes = _Changes(new, path)
        changes.find()
        new = changes.applied()
        said += changes.said
        if not changes.said:
            break
    for name, value in before.items():
        if name not in parse(CATALOGUE, new, path).values:  # a legacy key that is now gone
            new = assign(new, path, CATALOGUE.by_name[name], spelling.plain(CATALOGUE.by_name[name], value.value))
    for one, value in _missing(new, path, machine):
        new = assign(new, path, one, value)
        said.append(f"added {one.key}: {spelling.scalar(value, path)}")
    _check(before, new, path)
    return new, said


def _check(before: dict[str, Any], new: bytes, path: str) -> None:
    after = parse(CATALOGUE, new, path)
    if after.problems or any(after.values[name].value != value.value for name, value in before.items()):
        raise AccelError(f"{path}: it can't be brought up to date without changing its meaning: edit it by hand")


def _missing(content: bytes, path: str, machine: Machine) -> Iterator[tuple[Setting, Any]]:
    """Yield what a new file would say and this one doesn't."""
    values = parse(CATALOGUE, content, path).values
    said = _said(content, path)
    for one in CATALOGUE.settings:
        settings = resolve(CATALOGUE, [values])
        if one.key is None or said.intersection(one.keys) or one.scope not in in_scope(settings):
            continue
        value = _new(one, settings, machine)
        if value is not None:
            values = {**values, one.name: Value(value, ADDED)}
            yield one, value


def _new(one: Setting, settings: Settings, machine: Machine) -> Any:
    if one.name == "distributed_type":
        return _distributed_type(settings, machine)
    implied = one.implied(settings) if one.implied and not one.section.key else None
    return unasked(one, settings) if implied is None else implied


def _said(content: bytes, path: str) -> set[str]:
    root = compose(content, path)
    pairs = root.pairs() if root else []
    nested = {f"{key.value}.{own.value}" for key, node in pairs for own, _value in node.pairs()}
    return nested | {str(key.value) for key, _node in pairs}


def _distributed_type(settings: Settings, machine: Machine) -> str:
    """Return what a file without a type means: a switch's, else one process is NO, several are what they run on."""
    if settings.paradigm.kind:
        return settings.paradigm.kind
    if settings.value("compute_environment").value == JOB or settings.value("num_processes").value == 1:
        return "NO"
    if settings.value("num_processes").value is None:
        return machine.distributed_type
    return "MULTI_CPU" if settings.value("cpu").value or not machine.count else f"MULTI_{machine.kind}"


class _Changes(Splices):
    """Finds what to change in a text, and changes it from the end on, so that places stay true."""

    def __init__(self, content: bytes, path: str) -> None:
        super().__init__(content, path)
        self.known = CATALOGUE.by_key

    def find(self) -> None:
        """Find what is in old words."""
        if self.root is None:
            return
        for place, (key, node) in enumerate(self.root.pairs()):
            if key.alias:
                continue
            if key.value in LEGACY:
                self.remove(self.root, place, str(key.value), LEGACY[str(key.value)].why)
            elif str(key.value) in CATALOGUE.mappings and not node.alias:
                for inner, (own, value) in enumerate(node.pairs()):
                    if not own.alias:
                        self._look(node, inner, f"{key.value}.{own.value}", own, value)
            else:
                self._look(self.root, place, str(key.value), key, node)

    def _look(self, mapping: Node, place: int, path: str, key: Node, node: Node) -> None:
        one = self.known.get(path)
        if one is None:
            return
        if one.deprecated:
            self.remove(mapping, place, path, one.deprecated)
            return
        if path != one.key:
            today = str(one.key).rpartition(".")[2]
            self.splice(key, spelling.scalar(today, self.path))
            self.said.append(f"{path} is called {one.key} now")
        if not node.alias and one.kind is not dict:
            self._value(one, node)

    def _value(self, one: Setting, node: Node) -> None:
        """Spell a value as every reader understands it: unquoted ``no`` and numbers for text, quoted numbers."""
        raw, typed = node.read(one.kind), node.typed()
        value = None if raw is None else one.parse(raw, DEFAULT)
        if value is None:
            return
        wanted = spelling.plain(one, value)
        same = typed == wanted and isinstance(typed, bool) == isinstance(wanted, bool)
        in_another_case = isinstance(typed, str) and typed.lower() == str(wanted).lower() and isinstance(wanted, str)
        if not same and not in_another_case:
            new = spelling.scalar(wanted, self.path)
            self.splice(node, new)
            self.said.append(f"{one.key}: {' '.join(self.of(node).split())} is written {new} now")
