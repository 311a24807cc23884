"""Old config files brought up to date: current keys and values, the rest of the text as it was."""

from __future__ import annotations

from accel_config.asking.content import unasked
from accel_config.asking.machine import this_machine
from accel_config.catalogue import CATALOGUE
from accel_config.checking.file import JOB, in_scope
from accel_config.errors import AccelError
from accel_config.reading.document import compose
from accel_config.reading.files import LEGACY, parse
from accel_config.settings.origin import DEFAULT, FILE, Origin, Value
from accel_config.settings.paradigm import paradigm
from accel_config.settings.resolved import resolve
from accel_config.writing import own, spelling, storage
from accel_config.writing.edit import assign, content_of
from accel_config.writing.splices import Splices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from accel_config.reading.node import Node
    from accel_config.settings.declaration import Setting
    from accel_config.settings.machine import MachineFacts
    from accel_config.settings.resolved import Settings

ADDED = Origin("added", FILE)


def update(path: str) -> list[str]:
    """Bring the file at ``path`` up to date; return a line on each change.

    Raises:
        AccelError: the file can't be read or written, or has mistakes.
    """
    with storage.locked(path):
        content = content_of(path)
        new, changes = migrated(content, path, this_machine())
        new, ours, lines = own.moved(new, path)
        own.put(path, ours)
        if new != content:
            storage.replace(path, new)
    return [*changes, *lines]


def migrated(content: bytes, path: str, machine: MachineFacts) -> tuple[bytes, list[str]]:
    """Return the file's content brought up to date, and a line on each change.

    Raises:
        AccelError: it can't be read, or has mistakes.
    """
    read = parse(CATALOGUE, content, path)
    read.refuse()
    before = {name: value for name, value in read.values.items() if not CATALOGUE.by_name[name].deprecated}
    new, lines = _Changes.rewrite(content, path)
    for name, value in before.items():
        if name not in parse(CATALOGUE, new, path).values:  # a legacy key set it, which is removed now
            new = assign(new, path, CATALOGUE.by_name[name], spelling.plain(CATALOGUE.by_name[name], value.value))
    for one, value in _missing(new, path, machine):
        new = assign(new, path, one, value)
        lines.append(f"added {one.key}: {spelling.scalar(value, path)}")
    _check(before, new, path)
    return new, lines


def _check(before: dict[str, Any], new: bytes, path: str) -> None:
    after = parse(CATALOGUE, new, path)
    if after.problems or any(after.values[name].value != value.value for name, value in before.items()):
        raise AccelError(f"{path}: it can't be updated without changing its meaning; edit the file by hand")


def _missing(content: bytes, path: str, machine: MachineFacts) -> Iterator[tuple[Setting, Any]]:
    """Yield the settings, with their values, that a new file would have and this one lacks."""
    values = parse(CATALOGUE, content, path).values
    present = _keys(content, path)
    for one in CATALOGUE.settings:
        settings = resolve(CATALOGUE, [values])
        if one.key is None or present.intersection(one.keys) or one.scope not in in_scope(settings):
            continue
        value = _new(one, settings, machine)
        if value is not None:
            values = {**values, one.name: Value(value, ADDED)}
            yield one, value


def _new(one: Setting, settings: Settings, machine: MachineFacts) -> Any:
    if one.name == "distributed_type":
        return _distributed_type(settings, machine)
    implied = one.ask.implied(settings) if one.ask and one.ask.implied and not one.section.key else None
    return unasked(one, settings) if implied is None else implied


def _keys(content: bytes, path: str) -> set[str]:
    root = compose(content, path)
    pairs = root.pairs() if root else []
    nested = {f"{key.value}.{own.value}" for key, node in pairs for own, _value in node.pairs()}
    return nested | {str(key.value) for key, _node in pairs}


def _distributed_type(settings: Settings, machine: MachineFacts) -> str:
    """Return the type that a file without one means: that of a switch, NO for one process, or that of the devices."""
    if paradigm(settings).kind:
        return paradigm(settings).kind
    if settings.value("compute_environment").value == JOB or settings.value("num_processes").value == 1:
        return "NO"
    if settings.value("num_processes").value is None:
        return machine.distributed_type
    return "MULTI_CPU" if settings.value("cpu").value or not machine.count else f"MULTI_{machine.kind}"


class _Changes(Splices):
    """The old keys and values of a text, to be replaced."""

    def __init__(self, content: bytes, path: str) -> None:
        super().__init__(content, path)
        self._known = CATALOGUE.by_key

    def find(self) -> None:
        """Find old keys and values."""
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
        one = self._known.get(path)
        if one is None:
            return
        if one.deprecated:
            self.remove(mapping, place, path, one.deprecated)
            return
        if path != one.key:
            current = str(one.key).rpartition(".")[2]
            self.replace(key, spelling.scalar(current, self.path))
            self.changes.append(f"{path} is now called {one.key}")
        if not node.alias and one.kind is not dict:
            self._value(one, node)

    def _value(self, one: Setting, node: Node) -> None:
        """Spell a value for every reader: ``no`` and numbers that are text in quotes, numbers without."""
        raw, typed = node.read(one.kind), node.typed()
        value = None if raw is None else one.parse(raw, DEFAULT)
        if value is None:
            return
        wanted = spelling.plain(one, value)
        same = typed == wanted and isinstance(typed, bool) == isinstance(wanted, bool)
        in_another_case = isinstance(typed, str) and typed.lower() == str(wanted).lower() and isinstance(wanted, str)
        if not same and not in_another_case:
            new = spelling.scalar(wanted, self.path)
            self.replace(node, new)
            self.changes.append(f"{one.key}: {' '.join(self.of(node).split())} is now written {new}")
